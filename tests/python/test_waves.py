"""Families that hear samples, wav2vec 2.0, HuBERT and WavLM, and their classifiers: every stage as the reference gives it."""

import numpy as np
import pytest
import torch
from conftest import GOLDEN, import_maker, load_safetensors, save_wav

import trine

WAVES = GOLDEN / "waves"
CASES = sorted(path.parent.name for path in WAVES.glob("*/config.json"))


def same(got, wanted):
    """Features as the contract wants them."""
    got, wanted = torch.as_tensor(got), torch.as_tensor(wanted)
    assert got.shape == wanted.shape
    assert float((got - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
    assert float(torch.cosine_similarity(got.flatten(), wanted.flatten(), 0)) >= 0.99999


def row(scores):
    return torch.tensor(list(scores.values()))


@pytest.fixture(scope="module")
def golden_clip():
    """The clip of the stored cases: int16 in a safetensors file, which holds nothing else."""
    raw = (GOLDEN / "spectrograms/clip.safetensors").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    return (np.frombuffer(raw[start:], "<i2") / np.float32(2**15)).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_every_stage_equals_the_reference(case, golden_clip):
    expected, _ = load_safetensors(WAVES / case / "expected.safetensors")
    encoder, model = trine.load_encoder(WAVES / case), trine.Embedder(WAVES / case)
    assert isinstance(encoder, trine.AudioEncoder) and model.modalities == ["audio"]
    lengths = [int(name.split(".")[1]) for name in expected if name.startswith("hidden.")]
    assert len(lengths) == 4
    for n in lengths:
        clip, wanted = (golden_clip[:n], 16000), expected[f"hidden.{n}"]
        if f"input.{n}" in expected:
            assert (encoder.preprocess(clip) - expected[f"input.{n}"]).abs().max() < 1e-4
        same(encoder.encode(clip), wanted)
        if n >= 1600:  # the shortest that an embedder takes
            same(model.embed_audio(clip), torch.nn.functional.normalize(wanted.mean(0), dim=0))
    if case.endswith("classifier"):
        classifier = trine.Classifier(WAVES / case)
        assert classifier.modality == "audio" and classifier.labels == ["calm", "happy", "cross"]
        rows = classifier.predict([(golden_clip[:n], 16000) for n in lengths])
        for n, scores in zip(lengths, rows, strict=True):
            logits = expected[f"logits.{n}"]
            wanted = logits.sigmoid() if classifier.function == "sigmoid" else logits.softmax(0)
            assert (row(scores) - wanted).abs().max() < 1e-4


def test_a_clip_may_come_in_any_form(golden_clip, tmp_path):
    classifier = trine.Classifier(WAVES / "wavlm_classifier")
    clip = golden_clip[:8000]
    save_wav(tmp_path / "clip.wav", clip)
    heard = np.rint(clip * 32767).astype(np.int16)  # as the file keeps it
    wanted = classifier.predict((heard, 16000))
    given = [tmp_path / "clip.wav", str(tmp_path / "clip.wav"), (tmp_path / "clip.wav").read_bytes(),
             {"array": heard, "sampling_rate": 16000}, (torch.from_numpy(heard / np.float32(32768)), 16000), heard]  # fmt: skip
    for scores in classifier.predict(given, batch_size=4):
        assert scores == pytest.approx(wanted, abs=1e-5)
    assert classifier.predict([]) == []
    assert "Classifier(" in repr(classifier) and "last layer" in classifier.describe()["pooling"]


def test_what_a_classifier_of_clips_refuses(golden_clip):
    classifier = trine.Classifier(WAVES / "hubert_classifier")
    for bad in (golden_clip[:104], np.zeros(60 * 16000 + 1, np.float32), np.full(1000, np.nan, np.float32)):
        with pytest.raises(ValueError):
            classifier.predict((bad, 16000))
    with pytest.raises(FileNotFoundError):
        classifier.predict("missing.wav")
    with pytest.raises(TypeError):
        classifier.predict(3)
    with pytest.raises(ValueError, match="takes audio, not text"):
        _ = classifier.max_tokens
    with pytest.raises(RuntimeError, match="architectures"):
        trine.Classifier(WAVES / "hubert")


# --- other configurations than the stored ones, where transformers is installed ----------------------------------------


@pytest.fixture(scope="module")
def maker():
    """make_waves.py as a module."""
    made = import_maker("make_waves", "transformers")
    with torch.no_grad():
        yield made


def activation(random):
    return str(random.choice(["gelu", "relu", "silu", "gelu_new", "quick_gelu"]))


def random_config(random, family):
    heads, groups = int(random.integers(1, 4)), int(random.choice([1, 2, 4]))
    kernels = random.integers(1, 12, 4)
    config = {
        "hidden_size": heads * 4 * int(random.integers(1, 5)), "num_attention_heads": heads,
        "num_hidden_layers": int(random.integers(1, 4)), "intermediate_size": int(random.integers(5, 50)),
        "hidden_act": activation(random), "feat_extract_activation": activation(random),
        "layer_norm_eps": float(random.choice([1e-12, 1e-5, 1e-3])), "conv_dim": random.integers(3, 14, 4).tolist(),
        "conv_kernel": kernels.tolist(), "conv_stride": [5, 2, int(random.integers(3, 6)), int(random.integers(2, 5))],
        "feat_extract_norm": str(random.choice(["group", "layer"])), "conv_bias": bool(random.integers(2)),
        "do_stable_layer_norm": bool(random.integers(2)), "num_conv_pos_embeddings": int(random.integers(1, 40)),
        "num_conv_pos_embedding_groups": groups, "classifier_proj_size": int(random.integers(2, 30)),
        "use_weighted_layer_sum": bool(random.integers(2)), "num_labels": int(random.integers(1, 8)),
        "mask_time_prob": float(random.choice([0, 0.05])),
    }  # fmt: skip
    config["conv_stride"][3] = max(config["conv_stride"][3], -(-60 // (10 * config["conv_stride"][2])))
    if family == "HubertConfig":
        config |= {key: bool(random.integers(2)) for key in ("feat_proj_layer_norm", "conv_pos_batch_norm")}
    if family == "WavLMConfig":
        config |= {"num_buckets": int(random.integers(4, 40)), "max_bucket_distance": int(random.integers(10, 200))}
    return config


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("family", ["Wav2Vec2", "Hubert", "WavLM"])
def test_other_configurations(maker, tmp_path, family, seed, head):
    random, tf = np.random.default_rng([seed, head, len(family)]), maker.tf
    options = random_config(random, family + "Config")
    if head and options["num_labels"] > 1:
        options["problem_type"] = [None, "multi_label_classification", "regression"][seed % 3]
    config = getattr(tf, family + "Config")(**options)
    network = getattr(tf, family + ("ForSequenceClassification" if head else "Model"))(config)
    extractor = tf.Wav2Vec2FeatureExtractor(do_normalize=bool(random.integers(2)))
    model = maker.make(tmp_path, network, seed, extractor, nested=bool(random.integers(2)))
    base = maker.prefix(model)
    encoder, embedder = trine.load_encoder(tmp_path), trine.Embedder(tmp_path)
    classifier = trine.Classifier(tmp_path) if head else None
    least = maker.shortest(config)
    for rate, samples in [(16000, least), (16000, least + 1), (16000, 3001), (16000, 21000), (8000, 4001), (44100, 9001)]:
        clip = heard = maker.floats(maker.draw(samples, int(random.integers(1000))))
        if rate != 16000:
            soxr = pytest.importorskip("soxr", reason="needs the soxr wheel")
            heard = soxr.resample(clip, rate, 16000, quality="HQ")
        values = extractor(heard, sampling_rate=16000, return_tensors="pt").input_values
        assert (encoder.preprocess((clip, rate)) - values[0]).abs().max() < 1e-4 * values.abs().max()
        hidden = base(values).last_hidden_state[0]
        same(encoder.encode((clip, rate)), hidden)
        if samples > 0.1 * rate:
            same(embedder.embed_audio((clip, rate)), torch.nn.functional.normalize(hidden.mean(0), dim=0))
        if head:
            logits = model(values).logits[0]
            wanted = {"softmax": logits.softmax(0), "sigmoid": logits.sigmoid(), "none": logits}[classifier.function]
            found = row(classifier.predict({"array": clip, "sampling_rate": rate}))
            assert (found - wanted).abs().max() < 1e-4 * max(1.0, float(wanted.abs().max()))
    if head and options["num_labels"] > 1:
        names = {None: "softmax", "multi_label_classification": "sigmoid", "regression": "none"}
        assert classifier.function == names[options["problem_type"]]
    with pytest.raises(ValueError, match=f"at least {least}"):
        encoder.encode((np.zeros(least - 1, np.float32), 16000))


def test_every_layout_of_the_positions_is_read(maker, tmp_path):
    """weight_g and weight_v, as older versions wrote them."""
    from safetensors.torch import load_file, save_file

    random = np.random.default_rng(4)
    config = maker.tf.WavLMConfig(**random_config(random, "WavLMConfig"))
    model = maker.make(tmp_path, maker.tf.WavLMModel(config), 4, maker.tf.Wav2Vec2FeatureExtractor())
    tensors = load_file(tmp_path / "model.safetensors")
    inside = "encoder.pos_conv_embed.conv."
    for older, newer in (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1")):
        tensors[inside + older] = tensors.pop(inside + newer)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    extractor = maker.tf.Wav2Vec2FeatureExtractor()
    clip = maker.floats(maker.draw(5000, 3))
    values = extractor(clip, sampling_rate=16000, return_tensors="pt").input_values
    same(trine.load_encoder(tmp_path).encode((clip, 16000)), model(values).last_hidden_state[0])
