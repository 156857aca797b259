"""Families that hear spectrograms, AST and CLAP: every stage as the reference gives it."""

import json

import numpy as np
import pytest
import torch
from conftest import GOLDEN, import_maker, load_safetensors

import trine

SPECTROGRAMS = GOLDEN / "spectrograms"


def same(got, wanted):
    """Vectors as the contract wants them, and far closer."""
    got, wanted = torch.as_tensor(got).flatten(), torch.as_tensor(wanted).flatten()
    assert got.shape == wanted.shape
    assert float(torch.cosine_similarity(got, wanted, 0)) >= 0.99999
    assert float((got - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())


def audio_tower(encoder):
    return encoder.audio if isinstance(encoder, trine.Encoders) else encoder


@pytest.fixture(scope="module")
def maker():
    """make_spectrograms.py as a module."""
    made = import_maker("make_spectrograms", "transformers")
    with torch.no_grad():
        yield made


@pytest.fixture(scope="module")
def golden_clip():
    """The clip of the stored cases: int16 in a safetensors file, which holds nothing else."""
    raw = (SPECTROGRAMS / "clip.safetensors").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    return (np.frombuffer(raw[start:], "<i2") / np.float32(2**15)).astype(np.float32)


@pytest.mark.parametrize("case", ["ast", "ast_classifier", "clap_unfused", "clap_fused", "clap_audio"])
def test_an_embedder_gives_the_reference_s_vectors(case, golden_clip):
    expected, metadata = load_safetensors(SPECTROGRAMS / case / "expected.safetensors")
    model = trine.Embedder(SPECTROGRAMS / case)
    tower = audio_tower(trine.load_encoder(SPECTROGRAMS / case))
    assert "audio" in model.modalities and tower.sample_rate in (8000, 16000)
    compared = 0
    for name, wanted in expected.items():
        n = int(name.split(".")[1]) if name.startswith("vector.") else 0
        if tower.sample_rate / 10 <= n <= tower.max_seconds * tower.sample_rate:
            same(model.embed_audio((golden_clip[:n], tower.sample_rate)), torch.nn.functional.normalize(wanted, dim=0))
            compared += 1
    assert compared
    if "text_features" in expected:
        texts = json.loads(metadata["texts"])
        wanted = torch.nn.functional.normalize(expected["text_features"], dim=1)
        assert (model.embed_text(texts, long_input="truncate") - wanted).abs().max() < 1e-5


def test_towers_and_their_similarity():
    clap = trine.load_encoder(SPECTROGRAMS / "clap_fused")
    assert isinstance(clap, trine.Encoders) and clap.image is None
    assert clap.audio.dim == clap.text.dim == 12
    assert clap.similarity.kind == "softmax" and clap.similarity.scale > 0
    assert isinstance(trine.load_encoder(SPECTROGRAMS / "ast"), trine.AudioEncoder)
    assert isinstance(trine.load_clap(SPECTROGRAMS / "clap_text"), trine.TextEncoder)


def test_whole_clips_want_a_seed_where_a_piece_is_drawn(golden_clip):
    with pytest.raises(ValueError, match="want a seed"):
        trine.load_clap(SPECTROGRAMS / "clap_unfused", whole_clips=True)
    with pytest.raises(TypeError):
        trine.load_clap(SPECTROGRAMS / "clap_unfused", whole_clips=True, seed=-1)
    long = (golden_clip[:9000], 8000)
    with pytest.raises(ValueError, match="at most 1 s"):
        trine.load_encoder(SPECTROGRAMS / "clap_fused").audio.encode(long)
    whole = trine.load_clap(SPECTROGRAMS / "clap_fused", whole_clips=True).audio
    assert whole.max_seconds == 3600 and whole.encode(long).shape == (1, 12)


# --- other configurations than the stored ones, where transformers is installed ----------------------------------------


def activation(random):
    return str(random.choice(["gelu", "relu", "silu", "gelu_new", "quick_gelu"]))


def at_rate(maker, random, seconds, rate, wanted_rate):
    """A clip, and the same at the wanted rate through the soxr wheel where the rates differ."""
    clip = maker.floats(maker.draw(max(int(seconds * rate), 1), int(random.integers(1000))))
    if rate == wanted_rate:
        return clip, clip
    soxr = pytest.importorskip("soxr", reason="needs the soxr wheel")
    return clip, soxr.resample(clip, rate, wanted_rate, quality="HQ")


@pytest.mark.parametrize("seed", range(6))
def test_other_asts(maker, tmp_path, seed):
    random, tf = np.random.default_rng(seed), maker.tf
    heads, bins, frames = int(random.integers(1, 4)), int(random.integers(8, 80)), int(random.integers(12, 120))
    patch = int(random.integers(2, 9))
    config = tf.ASTConfig(
        hidden_size=heads * int(random.choice([8, 12])), num_attention_heads=heads, num_hidden_layers=int(random.integers(1, 4)),
        intermediate_size=int(random.integers(9, 50)), hidden_act=activation(random), patch_size=patch,
        layer_norm_eps=float(random.choice([1e-12, 1e-5, 1e-3])), qkv_bias=bool(seed % 2), max_length=frames,
        frequency_stride=int(random.integers(1, patch + 4)), time_stride=int(random.integers(1, patch + 4)),
        num_mel_bins=bins)  # fmt: skip
    extractor = tf.ASTFeatureExtractor(
        num_mel_bins=bins, max_length=frames, mean=float(random.normal(-4, 1)), std=float(random.uniform(1, 5)),
        do_normalize=seed != 3)  # fmt: skip
    network = tf.ASTForAudioClassification(config) if seed % 3 == 0 else tf.ASTModel(config)
    model = maker.make(tmp_path, network, seed, extractor, nested=seed == 2)
    base = getattr(model, "audio_spectrogram_transformer", model)
    tower, embedder = trine.load_encoder(tmp_path), trine.Embedder(tmp_path)
    assert tower.max_seconds == pytest.approx((400 + 160 * (frames - 1)) / 16000)
    for rate in (16000, 16000, 44100, 8000):
        seconds = float(random.uniform(0.101, tower.max_seconds))
        clip, heard = at_rate(maker, random, seconds, rate, 16000)
        values = extractor(heard, sampling_rate=16000, return_tensors="pt").input_values
        assert (tower.preprocess((clip, rate)) - values[0]).abs().max() < 1e-4
        wanted = base(values).pooler_output[0]
        same(tower.encode((clip, rate))[0], wanted)
        same(embedder.embed_audio((clip, rate)), torch.nn.functional.normalize(wanted, dim=0))


def clap(maker, folder, random, seed, fused):
    """A checkpoint of random sizes. -> model, extractor, tokenizer"""
    tf, stages = maker.tf, int(random.integers(1, 4))
    window = int(random.integers(2, 5))
    bins = 64 if fused else int(random.choice([8, 16, 20]))  # the reference wants 64 where it shrinks a long clip
    strips = int(random.integers(1, 4))
    stride = [4, 4] if seed % 2 == 0 else [2, 4]
    grid = bins * strips // max(stride)
    while stages > 1 and (bins % 2 ** (stages + 1) or grid // 2 ** (stages - 1) < window):
        stages -= 1
    if grid < window:
        strips, stages, window = 4, 1, 2
    width = int(random.choice([6, 8, 12]))
    audio = {
        "window_size": window, "num_mel_bins": bins, "spec_size": bins * strips, "hidden_act": activation(random),
        "patch_size": [stride[0] + 2 * int(random.integers(2)), stride[1]], "patch_stride": stride,
        "hidden_size": width * 2 ** (stages - 1), "depths": random.integers(1, 4, stages).tolist(),
        "num_attention_heads": [int(random.choice([1, 2, 3])) if width % 3 == 0 else 2 for _ in range(stages)],
        "enable_fusion": fused, "fusion_type": "aff_2d" if seed == 0 else None, "patch_embeds_hidden_size": width,
        "enable_patch_layer_norm": seed != 1, "qkv_bias": seed != 2, "mlp_ratio": float(random.choice([2, 2.5, 4])),
        "aff_block_r": int(random.choice([2, 4])), "layer_norm_eps": float(random.choice([1e-5, 1e-3])),
    }  # fmt: skip
    rate = int(random.choice([8000, 11025, 16000]))
    hop = -(-rate // (bins * strips**2 - 1)) + int(random.integers(0, 40))
    extractor = tf.ClapFeatureExtractor(
        feature_size=bins, sampling_rate=rate, hop_length=hop, max_length_s=1, fft_window_size=int(random.choice([128, 250, 512])),
        frequency_min=float(random.choice([0, 50])), frequency_max=rate / 2 - 300, truncation="fusion" if fused else "rand_trunc",
        padding=str(random.choice(["repeatpad", "repeat", "pad"])))  # fmt: skip
    folder.mkdir(exist_ok=True)
    _, words = maker.write_tokenizer(folder)
    heads = int(random.integers(1, 3))
    text = {
        "vocab_size": words, "hidden_size": 8 * heads, "num_attention_heads": heads, "num_hidden_layers": int(random.integers(1, 3)),
        "intermediate_size": 20, "max_position_embeddings": int(random.integers(12, 60)), "hidden_act": activation(random),
    }  # fmt: skip
    config = tf.ClapConfig(text_config=text, audio_config=audio, projection_dim=int(random.integers(4, 20)),
                           projection_hidden_act=activation(random))  # fmt: skip
    model = maker.make(folder, tf.ClapModel(config), seed, extractor, nested=seed == 1)
    return model, extractor, maker.write_tokenizer(folder)[0]


def reference_audio(model, extractor, heard, seed):
    """Mels and features of a clip alone."""
    np.random.seed(seed)
    batch = extractor(heard, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    mels = batch.input_features.float()
    return mels[0], model.get_audio_features(input_features=mels, is_longer=batch.is_longer).pooler_output[0]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_other_claps(maker, tmp_path, seed, fused):
    random = np.random.default_rng(100 * fused + seed)
    model, extractor, tokenizer = clap(maker, tmp_path / "clap", random, seed, fused)
    encoder, embedder = trine.load_encoder(tmp_path / "clap"), trine.Embedder(tmp_path / "clap")
    assert encoder.similarity.scale == pytest.approx(float(model.logit_scale_a.exp()), rel=1e-6)
    rate = extractor.sampling_rate
    for seconds, given in [(0.101, rate), (0.37, rate), (0.999, rate), (1, rate), (0.5, 48000), (0.31, 22050)]:
        clip, heard = at_rate(maker, random, seconds, given, rate)
        mels, wanted = reference_audio(model, extractor, heard, 0)
        assert (encoder.audio.preprocess((clip, given)) - mels).abs().max() < 1e-4
        same(encoder.audio.encode((clip, given))[0], wanted)
        same(embedder.embed_audio((clip, given)), wanted)
    for draw in (int(random.integers(2**32)), 4):
        whole = trine.load_clap(tmp_path / "clap", whole_clips=True, seed=draw)
        for samples in (rate + 1, rate + extractor.hop_length, rate + 3 * extractor.hop_length, int(2.7 * rate)):
            _, heard = at_rate(maker, random, samples / rate, rate, rate)
            mels, wanted = reference_audio(model, extractor, heard, draw)
            assert (whole.audio.preprocess((heard, rate)) - mels).abs().max() < 1e-4
            same(whole.audio.encode((heard, rate))[0], wanted)
    length = encoder.text.max_tokens
    assert length == model.config.text_config.max_position_embeddings - 2
    batch = tokenizer(maker.TEXTS, padding=True, truncation=True, max_length=length, return_tensors="pt")
    wanted = model.get_text_features(batch.input_ids, batch.attention_mask).pooler_output
    for got, row in zip(encoder.text.encode(maker.TEXTS), wanted):
        same(got, row)


def test_a_clip_alone_and_in_a_batch(maker, tmp_path):
    """The reference fuses a short clip with itself only where it is alone, or drawn out of its batch."""
    random = np.random.default_rng(5)
    model, extractor, _ = clap(maker, tmp_path / "clap", random, 3, True)
    clips = [at_rate(maker, random, 0.4, extractor.sampling_rate, extractor.sampling_rate)[0] for _ in range(4)]
    batch = extractor(clips, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    assert int(batch.is_longer.sum()) == 1
    features = model.get_audio_features(input_features=batch.input_features.float(), is_longer=batch.is_longer).pooler_output
    for fuse in (False, True):
        tower = trine.load_clap(tmp_path / "clap", fuse_short_clips=fuse).audio
        for clip, longer, wanted in zip(clips, batch.is_longer[:, 0], features):
            if bool(longer) == fuse:
                same(tower.encode((clip, extractor.sampling_rate))[0], wanted)


def test_pairs_are_scored_as_the_reference_scores_them(maker, tmp_path):
    random = np.random.default_rng(9)
    model, extractor, tokenizer = clap(maker, tmp_path / "clap", random, 4, False)
    rate = extractor.sampling_rate
    clips = [at_rate(maker, random, seconds, rate, rate)[0] for seconds in (0.3, 0.8)]
    texts = ["a dog", "the rain", "bells"]
    inputs = extractor(clips, sampling_rate=rate, return_tensors="pt") | tokenizer(texts, padding=True, return_tensors="pt")
    inputs["input_features"] = inputs["input_features"].float()
    wanted = model(**{k: v for k, v in inputs.items() if k != "token_type_ids"}).logits_per_audio.softmax(-1)
    found = trine.Embedder(tmp_path / "clap").probabilities([(clip, rate) for clip in clips], texts)
    assert (found - wanted).abs().max() < 1e-4
