"""Encoders on their own: features as the reference gives them."""

import numpy as np
import pytest
import torch
from conftest import DIM, make_picture, make_voice

import trine


def scale_error(got, wanted):
    return float((got - wanted).abs().max() / max(1.0, float(wanted.abs().max())))


def test_a_tiny_text_encoder(tiny_directory):
    encoder = trine.load_encoder(tiny_directory)
    assert isinstance(encoder, trine.TextEncoder)
    assert (encoder.dim, encoder.max_tokens) == (DIM, 64)
    assert encoder.count_tokens("the red") == 4
    assert encoder.encode(["the red one", "a"]).shape == (2, DIM)
    assert dict(encoder.describe())["model_type"] == "bert"
    with pytest.raises(ValueError):
        encoder.count_tokens("\ud800")


def test_text_features_equal_transformers(encoders):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    folder = encoders / "all-MiniLM-L6-v2"
    texts = ["a ripe banana", "The RED one, please!", "", "word " * 100]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = transformers.BertModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    wanted = (states * mask).sum(1) / mask.sum(1)
    assert scale_error(trine.load_encoder(folder).encode(texts), wanted) < 1e-4


def test_image_features(encoders):
    encoder = trine.load_encoder(encoders / "tf_efficientnet_lite0")
    assert isinstance(encoder, trine.ImageEncoder)
    pixels = encoder.preprocess(make_picture(width=300, height=260))
    assert pixels.shape == (3, 224, 224) and pixels.dtype == torch.float32
    features = encoder.encode(torch.stack([pixels, pixels]))
    assert features.shape == (2, encoder.dim) == (2, 1280)
    assert torch.equal(features[0], features[1])
    with pytest.raises(TypeError):
        encoder.preprocess(np.zeros((4, 4, 3)))


def test_a_picture_is_the_same_from_a_file_its_bytes_and_its_pixels(encoders, tmp_path):
    file = tmp_path / "picture.jpg"
    file.write_bytes(trine._trine.encode_jpeg(make_picture(width=300, height=260), 90))
    encoder = trine.load_encoder(encoders / "tf_efficientnet_lite0")
    wanted = encoder.preprocess(trine.read_image(file))
    for given in (file, str(file), file.read_bytes()):
        assert torch.equal(encoder.preprocess(given), wanted)
    whole = trine.Encoder(encoders / "tf_efficientnet_lite0", modality="image")
    for given in (file, bytearray(file.read_bytes()), trine.read_image(file)):
        assert torch.equal(whole.preprocess(given), wanted)
    for damaged in (b"", b"no picture", file.read_bytes()[:40]):
        with pytest.raises((ValueError, RuntimeError)):
            encoder.preprocess(damaged)
    with pytest.raises(FileNotFoundError):
        encoder.preprocess(tmp_path / "missing.jpg")


def test_audio_features_equal_transformers(encoders):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    folder = encoders / "whisper-tiny.en"
    encoder = trine.load_encoder(folder)
    assert (encoder.dim, encoder.sample_rate, encoder.max_seconds) == (384, 16_000, 30)
    voice = make_voice(30.0)
    extract = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    mel = extract(voice, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        model = transformers.WhisperModel.from_pretrained(folder).float().eval()
        wanted = model.encoder(mel).last_hidden_state[0]
    assert scale_error(encoder.encode((voice, 16_000)), wanted) < 1e-4
    assert encoder.encode((voice[:16_000], 16_000)).shape == (50, 384)
    with pytest.raises(ValueError):
        encoder.encode((voice[:100], 16_000))


def test_what_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        trine.load_encoder(tmp_path / "missing")
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    with pytest.raises(RuntimeError, match="other"):
        trine.load_encoder(tmp_path)
