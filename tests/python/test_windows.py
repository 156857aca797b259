"""Long inputs in windows, scores of pairs, and the stages on the way to a vector, of any checkpoint."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import GOLDEN, load_safetensors, make_picture, make_voice, save_wav

import trine

VISION, WHISPER = GOLDEN / "vision", GOLDEN / "encoders" / "whisper"
WORDS = "red green äpfel lamp shoes rain jacket wooden door bicycle naïve Straße 自転車 🍌 oat milk, headphones".split()
SECONDS = 1.2  # of the tiny Whisper
RATE = 16_000


def unit(rows):
    return torch.nn.functional.normalize(rows, dim=-1)


def text_of(count, seed=0):
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


def byte_pairs(folder):
    """A RoBERTa whose tokens are pairs of bytes, several of them to a character."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")
    shutil.copytree(GOLDEN / "texts/roberta", folder)
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator(["the red lamp and a wooden door"] * 3, 290, special_tokens=["<s>", "<pad>", "</s>", "<unk>"])
    made.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    made.save(str(folder / "tokenizer.json"))
    return trine.Embedder(folder)


@pytest.fixture(scope="module")
def models(tiny, tmp_path_factory):
    """Of texts: word pieces, pairs of bytes with and without a word's end, and unigrams, which see their padding."""
    return {
        "bert": tiny,
        "roberta": byte_pairs(tmp_path_factory.mktemp("roberta") / "model"),
        "clip": trine.Embedder(VISION / "clip"),
        "siglip": trine.Embedder(VISION / "siglip"),
    }


@pytest.fixture(scope="module")
def whisper():
    return trine.Embedder(WHISPER)


def check_windows(model, text, **options):
    """Every character lies in a window, every window fits, and the vector is their mean."""
    vector, coverage = model.embed_text(text, return_coverage=True, **options)
    assert coverage.used == coverage.total
    windows = coverage.windows
    assert windows[0][0] == 0 and windows[-1][1] == len(text)
    for (first, last), (next_first, next_last) in zip(windows, windows[1:]):
        assert first < next_first <= last <= next_last
    pieces = [text[first:last] for first, last in windows]
    rows, covered = model.embed_text(pieces, return_coverage=True, **options)
    assert all(len(c.windows) == 1 and c.used == c.total for c in covered)
    lengths = torch.tensor([[float(last - first)] for first, last in windows])
    wanted = unit((lengths * rows).sum(0)) if len(windows) > 1 else rows[0]
    assert (vector - wanted).abs().max() < 1e-5
    return windows


@pytest.mark.parametrize("name", ["bert", "roberta", "clip", "siglip"])
def test_windows_of_texts(models, name):
    for seed, count in enumerate((1, 3, 8, 20, 60, 200)):
        text = text_of(count, seed)
        windows = check_windows(models[name], text)
    assert len(windows) > 5
    for text in ("x" * 3_000, "自転車" * 400, "🍌" * 100, " " * 900, "\n a \t" * 300, "", "e\u0301" * 500):
        check_windows(models[name], text)


def test_windows_of_any_text(models):
    hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis")
    some = hypothesis.strategies
    texts = some.text(some.characters(exclude_categories=["Cs"]) | some.sampled_from(" \nab.äß語🍌\u0301"), max_size=250)

    @hypothesis.settings(max_examples=40, deadline=None)
    @hypothesis.given(some.sampled_from(["bert", "siglip"]), texts)
    def check(name, text):
        check_windows(models[name], text)

    check()


def test_words_stay_whole(tiny):
    text = "the red one again " * 80
    windows = check_windows(tiny, text)
    assert len(windows) > 3
    for first, last in windows:
        assert set(text[first:last].split()) <= {"the", "red", "one", "again"}
    tokens = [len(tiny.tokenize(text[first:last])) for first, last in windows]
    assert all(count > 60 for count in tokens[:-1])  # of 64


def test_prompts_are_in_every_window(tiny):
    text = text_of(120)
    plain = check_windows(tiny, text)
    prompted = check_windows(tiny, text, prompt="search for this: ")
    assert len(prompted) > len(plain)
    with pytest.raises(ValueError, match="no room for a text"):
        tiny.embed_text(text, prompt="word " * 70)


def test_long_texts_do_not_depend_on_batch_or_threads(tiny):
    texts = [text_of(count, count) for count in (3, 200, 1, 90, 400, 2)]
    wanted = torch.stack([tiny.embed_text(text) for text in texts])
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            for batch_size in (1, 2, 5, 64):
                assert (tiny.embed_text(texts, batch_size=batch_size) - wanted).abs().max() < 1e-5
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(tiny.encode(texts), wanted, atol=1e-5)
    assert torch.allclose(tiny.embed(text=texts[1]), wanted[1], atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_truncated_texts_equal_the_reference(models, name):
    expected, metadata = load_safetensors(VISION / name / "expected.safetensors")
    texts = json.loads(metadata["texts"])
    with pytest.warns(UserWarning, match="1 of 5 texts are longer"):
        vectors, coverage = models[name].embed_text(texts, long_input="truncate", return_coverage=True)
    assert (vectors - unit(expected["text_features"])).abs().max() < 1e-5
    cut = coverage[3]
    assert cut.used < cut.total and len(cut.windows) == 1 and 0 < cut.windows[0][1] < len(texts[3])
    whole = models[name].embed_text(texts)
    assert (whole - vectors).abs().max(1).values.gt(1e-3).tolist() == [False, False, False, True, False]
    ids = expected["ids"].tolist()
    for text, row in zip(texts, ids):
        found = models[name].tokenize(text)
        assert found == row[: len(found)] and len(set(row[len(found) :])) <= 1
    assert name == "clip" or len(models[name].tokenize("a")) == len(ids[0])  # the padding that it sees


def test_what_is_too_long_can_be_refused(tiny, whisper):
    with pytest.raises(ValueError, match="has 102 tokens, the model takes 64"):
        tiny.embed_text(["a", "the " * 100], long_input="error")
    with pytest.raises(ValueError, match=r"has 2 s of sound, the model takes 1\.2"):
        whisper.embed_audio(make_voice(2), long_input="error")
    for model, value in ((tiny, "a"), (whisper, make_voice(1))):
        assert torch.equal(model.encode(value, long_input="error"), model.encode(value))
        with pytest.raises(ValueError, match="window, truncate or error, not 'cut'"):
            model.encode(value, long_input="cut")


def test_windows_of_clips(whisper, tmp_path):
    voice = make_voice(4.0) * np.linspace(0.1, 1, 4 * RATE, dtype=np.float32)
    vector, coverage = whisper.embed_audio(voice, return_coverage=True)
    assert coverage.total == coverage.used == pytest.approx(4)
    wanted = [(0.6 * i, min(0.6 * i + SECONDS, 4)) for i in range(6)]
    assert np.allclose(coverage.windows, wanted)
    pieces = [voice[round(first * RATE) : round(last * RATE)] for first, last in wanted]
    lengths = torch.tensor([[len(piece)] for piece in pieces])
    assert (vector - unit((lengths * whisper.embed_audio(pieces)).sum(0))).abs().max() < 1e-5
    with pytest.warns(UserWarning, match=r"1 of 2 clips are longer than 1\.2 s"):
        cut, covered = whisper.embed_audio([voice, voice[:RATE]], long_input="truncate", return_coverage=True)
    assert torch.allclose(cut[0], whisper.embed_audio(voice[: round(SECONDS * RATE)]), atol=1e-6)
    assert covered[0].windows == [(0, pytest.approx(SECONDS))] and covered[1].used == covered[1].total
    save_wav(tmp_path / "voice.wav", voice)
    samples, rate = trine.read_audio(tmp_path / "voice.wav")
    forms = [tmp_path / "voice.wav", (tmp_path / "voice.wav").read_bytes(), (samples, rate)]
    forms.append({"array": samples, "sampling_rate": rate})
    rows = whisper.embed_audio(forms)
    assert torch.allclose(rows, rows[:1], atol=1e-6)


def test_a_clip_for_an_encoder_alone_keeps_its_level_and_its_silence(whisper):
    voice = make_voice(0.5)
    states = trine.load_encoder(WHISPER).encode((voice, RATE))
    assert (whisper.embed_audio(voice) - unit(states.mean(0))).abs().max() < 1e-5
    quiet = np.concatenate([np.zeros(RATE // 2, np.float32), voice / 50])
    states = trine.load_encoder(WHISPER).encode((quiet, RATE))
    assert (whisper.embed_audio(quiet) - unit(states.mean(0))).abs().max() < 1e-5


# --- scores of pairs --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures():
    return {name: pixels.numpy() for name, pixels in load_safetensors(VISION / "pictures.safetensors")[0].items()}


def logits_per_image(case, names):
    """scale * cosine + bias of what the reference made, and the texts."""
    expected, metadata = load_safetensors(VISION / case / "expected.safetensors")
    weights = load_safetensors(VISION / case / "model.safetensors")[0]
    images = unit(torch.stack([expected[f"features.{name}"] for name in names]))
    scores = weights["logit_scale"].exp() * images @ unit(expected["text_features"]).T
    texts = json.loads(metadata["texts"])
    short = [i for i, text in enumerate(texts) if len(text) < 60]
    return scores[:, short] + weights.get("logit_bias", 0), [texts[i] for i in short]


@pytest.mark.parametrize("case", ["clip", "siglip", "siglip2"])
def test_probabilities_equal_the_reference(case, pictures):
    names = ["photo", "tall", "exact"]
    logits, texts = logits_per_image(case, names)
    wanted = logits.softmax(1) if case == "clip" else logits.sigmoid()
    model = trine.Embedder(VISION / case)
    found = model.probabilities([pictures[name] for name in names], texts)
    assert (found - wanted).abs().max() < 1e-5
    one = model.probabilities(pictures["tall"], texts)
    assert one.shape == (len(texts),) and (one - wanted[1]).abs().max() < 1e-5
    assert model.probabilities([pictures["tall"]], texts[0]).shape == (1, 1)
    assert model.probabilities([], texts).shape == (0, len(texts))


@pytest.mark.parametrize("case, kind", [("clip", "CLIPModel"), ("siglip", "SiglipModel")])
def test_probabilities_equal_transformers(case, kind, pictures):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    network = getattr(transformers, kind).from_pretrained(VISION / case).eval()
    model = trine.Embedder(VISION / case)
    expected, metadata = load_safetensors(VISION / case / "expected.safetensors")
    texts, names = json.loads(metadata["texts"])[:3], ["photo", "tall"]
    pixels = torch.stack([model.preprocess_image(pictures[name]) for name in names])
    with torch.no_grad():
        logits = network(input_ids=expected["ids"][:3], pixel_values=pixels).logits_per_image
    wanted = logits.softmax(1) if case == "clip" else logits.sigmoid()
    assert (model.probabilities([pictures[name] for name in names], texts) - wanted).abs().max() < 1e-5


def test_probabilities_without_pairs_are_refused(tiny, whisper, tmp_path):
    for model, value in ((tiny, "photo.jpg"), (whisper, make_voice()), (trine.Embedder(VISION / "clip_vision"), make_picture())):
        with pytest.raises(ValueError, match=r"similarity\(\) gives the cosines"):
            model.probabilities(value, ["a"])
    model = trine.Embedder(VISION / "clip")
    with pytest.raises(ValueError, match="A picture or a clip is wanted, not text"):
        model.probabilities({"text": "a"}, ["a"])
    with pytest.raises(ValueError, match="Input 1"):
        model.probabilities([make_picture(), np.zeros((4, 4, 7))], ["a"])


# --- stages -----------------------------------------------------------------------------------------------------------


def test_what_enters_the_networks(pictures, whisper, tiny):
    expected = load_safetensors(VISION / "clip/expected.safetensors")[0]
    model = trine.Embedder(VISION / "clip")
    assert torch.equal(model.preprocess_image(pictures["photo"]), expected["pixels.photo"])
    voice = make_voice(1.1)
    mel = whisper.preprocess_audio((voice, RATE))
    assert torch.equal(mel, torch.from_numpy(trine.whisper_mel(voice)))
    assert torch.equal(mel, trine.load_encoder(WHISPER).preprocess((voice, RATE)))
    assert torch.equal(mel, whisper.preprocess_audio({"array": voice, "sampling_rate": RATE}))
    assert whisper.preprocess_audio((np.repeat(voice, 3), 3 * RATE)).shape == mel.shape
    assert tiny.tokenize("the red") == trine.Tokenizer.load(tiny.directory / "tokenizer.json").encode("the red").ids
    assert len(tiny.tokenize("the " * 100)) == 64
    with pytest.raises(ValueError, match="has no image tower"):
        tiny.preprocess_image(pictures["photo"])


def test_mel_equals_transformers(whisper):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    voice = make_voice(1.0)
    extract = transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=1)
    wanted = torch.from_numpy(extract(voice, sampling_rate=RATE, return_tensors="np").input_features[0])
    assert (whisper.preprocess_audio((voice, RATE)) - wanted).abs().max() < 1e-4


def test_videos_are_the_mean_of_their_frames(pictures):
    model = trine.Embedder(VISION / "clip")
    frames = np.stack([make_picture(seed) for seed in range(5)])
    wanted = unit(model.embed_image(list(frames)).mean(0))
    forms = [frames, list(frames), torch.from_numpy(frames).permute(0, 3, 1, 2)]
    for video in forms:
        found = model.embed_video(video, batch_size=2)
        assert found.shape == (24,) and (found - wanted).abs().max() < 1e-5
    assert model.embed_video([frames, frames[:1]]).shape == (2, 24)
    assert model.embed_video(frames, truncate_dim=3, convert_to_numpy=True).shape == (3,)
    for bad in (frames[:0], [], 7):
        with pytest.raises(ValueError, match="[Vv]ideo"):
            model.embed_video(bad)


def test_an_encoder_gives_features_before_any_space(pictures, tiny_directory, tmp_path):
    expected, metadata = load_safetensors(VISION / "clip/expected.safetensors")
    with pytest.raises(ValueError, match="modality='image' or 'text'"):
        trine.Encoder(VISION / "clip")
    with pytest.raises(ValueError, match="has no 'audio' tower, it has image, text"):
        trine.Encoder(VISION / "clip", modality="audio")
    image, text = (trine.Encoder(VISION / "clip", modality=m) for m in ("image", "text"))
    assert (image.features(pictures["photo"]) - expected["features.photo"]).abs().max() < 1e-5
    assert len(image.features([pictures["photo"], pictures["tall"]])) == 2
    texts = json.loads(metadata["texts"])
    assert (torch.stack(text.features(texts)) - expected["text_features"]).abs().max() < 1e-5
    assert text.preprocess("a red door").dtype == torch.int64
    audio = trine.Encoder(WHISPER)
    states = load_safetensors(WHISPER / "expected.safetensors")[0]
    assert audio.modality == "audio" and audio.dim == 16
    save_wav(tmp_path / "voice.wav", make_voice(1.0))
    assert audio.features(tmp_path / "voice.wav").shape == (50, 16)
    assert (audio.features((states["short.samples"].numpy(), RATE)) - states["short.states"]).abs().max() < 1e-4
    assert audio.preprocess((states["short.samples"], RATE)).shape == (80, 50)
    assert image.describe()["model_type"] == "clip" and "modality='image'" in repr(image)
    assert trine.Encoder(tiny_directory).features("the red").shape == (32,)
    with pytest.raises(TypeError):
        text.features(b"bytes")
