"""Files and arrays to samples: pixels as Pillow's, clips, tokens, and what is refused."""

import io
import json
import struct

import numpy as np
import pytest
import torch
from conftest import GOLDEN, make_picture, make_voice, save_wav

import trine
from trine import _inputs

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "format, options", [("PNG", {}), ("JPEG", {"quality": 83}), ("BMP", {}), ("WEBP", {}), ("TIFF", {})]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_pixels_equal_those_of_pillow(tmp_path, format, options, mode):
    if (format, mode) == ("JPEG", "RGBA"):
        pytest.skip("JPEG holds no alpha")
    path = tmp_path / f"picture.{format.lower()}"
    Image.fromarray(make_picture()).convert(mode).save(path, format, **options)
    wanted = np.array(Image.open(path).convert("RGB"))
    assert np.array_equal(trine.read_image(path), wanted)
    assert np.array_equal(trine.read_image(path.read_bytes()), wanted)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode, subsampling", [("RGB", 0), ("RGB", 1), ("RGB", 2), ("L", -1), ("CMYK", 0)])
def test_jpegs_of_any_form_equal_those_of_pillow(mode, subsampling, progressive):
    for width, height in ((1, 1), (7, 33), (17, 16), (64, 47), (333, 2), (639, 481)):
        file = io.BytesIO()
        picture = Image.fromarray(make_picture(width + height, width=width, height=height)).convert(mode)
        picture.save(file, "JPEG", subsampling=subsampling, progressive=progressive)
        pixels = trine.read_image(file.getvalue())
        assert np.array_equal(pixels, np.array(Image.open(file).convert("RGB"))), (width, height)


def test_pixels_belong_to_their_array():
    file = png(make_picture(5))
    first, again = trine.read_image(file), trine.read_image(file)
    part = first[3:9, 2:4].copy()
    view = first[3:9, 2:4]
    first = None  # a view keeps the pixels
    again[:] = 0  # an array may be written to, and is nobody else's
    for _ in range(20):
        trine.read_image(file)
    assert np.array_equal(view, part) and part.any() and not again.any()
    assert np.array_equal(trine.read_image(file)[3:9, 2:4], part)


@pytest.mark.parametrize("side", [1, 8, 31, 32, 60, 256])
@pytest.mark.parametrize("mode, subsampling", [("RGB", 0), ("RGB", 2), ("L", -1), ("CMYK", 0)])
def test_drafts_equal_those_of_pillow(side, mode, subsampling):
    file = io.BytesIO()
    Image.fromarray(make_picture(width=517, height=389)).convert(mode).save(file, "JPEG", subsampling=subsampling)
    picture = Image.open(io.BytesIO(file.getvalue()))
    picture.draft("RGB", (side, side))
    assert np.array_equal(trine.read_image(file.getvalue(), draft_side=side), np.array(picture.convert("RGB")))


def test_drafts_are_of_jpegs_only(tmp_path):
    picture = make_picture(width=400, height=300)
    (tmp_path / "picture.png").write_bytes(png(picture))
    assert np.array_equal(trine.read_image(tmp_path / "picture.png", draft_side=8), picture)
    assert np.array_equal(trine.read_image(picture, draft_side=8), picture)
    for bad in (-1, 1.5, "8"):
        with pytest.raises(ValueError, match="draft_side"):
            trine.read_image(tmp_path / "picture.png", draft_side=bad)


def bmp(width, height, bits, data, palette, compression):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0)
    offset = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + info + palette + data


def run_lengths(random, width, height, bits):
    """Runs and single pixels; the end of a row is often left to the first colour. Pillow loses the last of an odd number of
    single pixels of four bits, so their number is even."""
    rows = b""
    for _ in range(height):
        rows += bytes([1]) + random.bytes(1)
        left = width - 1
        while left > 4 and random.random() < 0.9:
            count = int(random.integers(2, min(left, 9) // 2 + 1)) * 2
            held = count * bits // 8
            single = bytes([0, count]) + random.bytes(held) + b"\0" * (held % 2)
            rows += single if random.random() < 0.5 else bytes([count]) + random.bytes(1)
            left -= count
        rows += b"\0\0"
    return rows + b"\0\1"


@pytest.mark.parametrize("bits, compression", [(1, 0), (4, 0), (8, 0), (4, 2), (8, 1)])
def test_palettes_of_bmp_equal_those_of_pillow(bits, compression):
    random = np.random.default_rng(bits + compression)
    for width, height in ((1, 1), (7, 5), (32, 3), (45, 20)):
        rows = random.bytes((width * bits + 31) // 32 * 4 * height)
        if compression:
            rows = run_lengths(random, width, height, bits)
        file = bmp(width, height, bits, rows, random.bytes(4 << bits), compression)
        wanted = np.array(Image.open(io.BytesIO(file)).convert("RGB"))
        assert np.array_equal(trine.read_image(file), wanted), (width, height)


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(60, 40), (17, 90), (224, 224), (1, 1), (5, 3), (1300, 7)])
def test_resize_equals_pillow(filter, size):
    if int(Image.__version__.split(".")[0]) < 13:
        pytest.skip("the resize of older versions of Pillow differs where the height shrinks much more than the width")
    for picture in (make_picture(3), make_picture(4, width=641, height=37), make_picture(5, width=3, height=150)):
        wanted = np.array(Image.fromarray(picture).resize(size, getattr(Image.Resampling, filter.upper())))
        assert np.array_equal(trine.resize(picture, size, filter), wanted)


def test_all_forms_of_a_picture_are_the_same_pixels(tmp_path):
    picture = make_picture()
    path = tmp_path / "picture.png"
    path.write_bytes(png(picture))
    tensor = torch.from_numpy(picture)
    forms = [
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        memoryview(path.read_bytes()),
        Image.fromarray(picture),
        picture,
        picture[::-1][::-1],
        picture / 255,
        (picture / 255).astype(np.float32),
        tensor,
        tensor.permute(2, 0, 1),
        tensor.permute(2, 0, 1) / 255,
    ]
    for form in forms:
        assert np.array_equal(_inputs.pixels(form), picture)


def test_grey_arrays_are_repeated():
    grey = make_picture()[:, :, 0]
    assert np.array_equal(_inputs.pixels(grey), np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    "bad, error",
    [
        (np.zeros((4, 5, 4), np.uint8), ValueError),
        (np.zeros((3, 4, 5), np.uint8), ValueError),
        (np.zeros((0, 5, 3), np.uint8), ValueError),
        (np.zeros(5, np.uint8), ValueError),
        (np.full((4, 5, 3), 1.5), ValueError),
        (np.full((4, 5, 3), np.nan), ValueError),
        (np.zeros((4, 5, 3), np.int64), TypeError),
        (np.zeros((4, 5, 3), bool), TypeError),
        (7, TypeError),
        (None, TypeError),
        ("nul\0.png", ValueError),
    ],
)
def test_no_picture_is_refused_in_a_sentence(bad, error):
    with pytest.raises(error, match=r"\.$"):
        _inputs.pixels(bad)


def test_bad_picture_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.png"):
        trine.read_image(tmp_path / "missing.png")
    whole = png(make_picture())
    for bad in (b"", b"\x89PNG", whole[:40], whole[: len(whole) // 2], b"GIF89a" + bytes(50), bytes(1000)):
        with pytest.raises(RuntimeError):
            trine.read_image(bad)
    with pytest.raises(RuntimeError):
        trine.read_image(tmp_path)
    for size in ((0, 5), (5, -1), (100_000, 100_000)):
        with pytest.raises(ValueError):
            trine.resize(make_picture(), size)
    with pytest.raises(ValueError, match="hamming, bicubic or lanczos, not 'cubic'"):
        trine.resize(make_picture(), (5, 5), "cubic")


# --- clips ------------------------------------------------------------------------------------------------------------


def test_all_forms_of_a_clip_are_the_same_samples(tmp_path):
    voice = np.rint(make_voice(0.3) * 32767) / 32768
    path = tmp_path / "voice.wav"
    save_wav(path, voice * 32768 / 32767)
    voice = voice.astype(np.float32)
    forms = [
        path,
        path.read_bytes(),
        voice,
        voice.astype(np.float64),
        torch.from_numpy(voice),
        (voice * 32768).astype(np.int16),
        (voice.astype(np.float64) * 2**31).astype(np.int32),
        (voice, 16_000),
        (torch.from_numpy(voice), 16_000.0),
        {"array": voice, "sampling_rate": 16_000, "path": None},
        {"array": voice.tolist(), "sampling_rate": 16_000},
        np.stack([voice, voice]),
    ]
    for form in forms:
        samples, rate = trine.read_audio(form)
        assert rate == 16_000 and samples.dtype == np.float32
        assert np.array_equal(samples, voice)


def test_audio_is_mixed_down_and_resampled_like_soxr():
    soxr = pytest.importorskip("soxr", reason="needs soxr")
    stereo = np.stack([make_voice(0.5, 44_100), make_voice(0.5, 44_100, pitch=200)])
    samples, _ = trine.read_audio((stereo, 44_100))
    wanted = soxr.resample(stereo.mean(axis=0), 44_100, 16_000, quality="HQ")
    assert abs(len(samples) - len(wanted)) <= 1
    n = min(len(samples), len(wanted))
    assert np.abs(samples[:n] - wanted[:n]).max() < 1e-4


def test_read_audio_keeps_the_rate_when_asked(tmp_path):
    save_wav(tmp_path / "voice.wav", make_voice(0.2, 44_100), 44_100)
    for source in (tmp_path / "voice.wav", (make_voice(0.2, 44_100), 44_100)):
        samples, rate = trine.read_audio(source, sample_rate=0)
        assert (len(samples), rate) == (8820, 44_100)


def test_whisper_mel_equals_transformers():
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    extract = transformers.WhisperFeatureExtractor()
    voice = make_voice(1.0)
    wanted = extract(voice, sampling_rate=16_000, padding=False, return_tensors="np").input_features[0]
    mel = trine.whisper_mel(voice)
    assert mel.shape == (80, 100)
    assert np.abs(mel - wanted[:, :100]).max() < 1e-4


@pytest.mark.parametrize(
    "bad, error",
    [
        (np.array([0.1, np.nan], np.float32), ValueError),
        (np.array([1e300]), ValueError),
        (np.zeros(0, np.float32), ValueError),
        (np.zeros((2, 3, 4), np.float32), ValueError),
        (np.zeros((16_000, 2), np.float32), ValueError),
        (np.zeros(9, np.int64), TypeError),
        (np.zeros(9, bool), TypeError),
        ((np.zeros(9, np.float32), 0), ValueError),
        ((np.zeros(9, np.float32), -16_000), ValueError),
        ((np.zeros(9, np.float32), 10**12), ValueError),
        ((np.zeros(9, np.float32), 22_050.5), ValueError),
        ((np.zeros(9, np.float32), float("nan")), ValueError),
        ({"array": np.zeros(9), "sampling_rate": "16000"}, TypeError),
        ({"array": np.zeros(9)}, ValueError),
        ({}, ValueError),
        (7, TypeError),
        (None, TypeError),
    ],
)
def test_no_clip_is_refused(bad, error):
    with pytest.raises(error):
        trine.read_audio(bad)


def test_bad_audio_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.wav"):
        trine.read_audio(tmp_path / "missing.wav")
    save_wav(tmp_path / "voice.wav", make_voice(0.2))
    whole = (tmp_path / "voice.wav").read_bytes()
    for bad in (b"", whole[:20], whole[:44], bytes(1000), b"OggS" + bytes(200)):
        with pytest.raises(RuntimeError):
            trine.read_audio(bad)


def test_mel_of_anything_but_samples_is_refused():
    for bad in (np.zeros((2, 400)), np.zeros(0), [np.nan] * 400):
        with pytest.raises(ValueError):
            trine.whisper_mel(bad)
    with pytest.raises(ValueError):
        trine.whisper_mel(np.zeros(400), mel_bands=0)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_tokens_equal_the_golden_cases():
    cases = json.loads((GOLDEN / "text" / "cases.json").read_text(encoding="utf-8"))
    tokenizer = trine.Tokenizer.load(GOLDEN / "text" / "tokenizer.json")
    plain = [case for group in cases["groups"] if not group["changes"] for case in group["texts"]]
    assert len(plain) > 10
    for case in plain:
        encoding = tokenizer.encode(case["text"])
        assert encoding.ids == case["ids"]
        assert encoding.tokens == case["tokens"]
        assert [value for pair in encoding.offsets for value in pair] == case["offsets"]
        assert len(encoding) == len(case["ids"])


@pytest.mark.parametrize(
    "text", ["", "a", "Ünïcödé 漢字 🍌🏽 e\u0301", "the\u00a0red\u200bone\ufeff", "x" * 300, "  a\tb\nc  "]
)
def test_tokens_equal_the_fast_tokenizer(encoders, text):
    tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")
    reference = tokenizers.Tokenizer.from_file(str(encoders / "all-MiniLM-L6-v2" / "tokenizer.json"))
    reference.no_padding()
    reference.no_truncation()
    wanted, got = reference.encode(text), trine.Tokenizer.load(encoders / "all-MiniLM-L6-v2").encode(text)
    assert (got.ids, got.tokens, got.offsets) == (wanted.ids, wanted.tokens, wanted.offsets)


def test_truncation_is_told():
    tokenizer = trine.Tokenizer.load(GOLDEN / "text")
    encoding = tokenizer.encode("the red one " * 20, max_length=8)
    assert encoding.truncated and len(encoding.ids) == 8
    assert not tokenizer.encode("the red one").truncated
    assert "truncated" in repr(encoding)


def test_bad_tokenizers_and_texts_are_refused(tmp_path):
    tokenizer = trine.Tokenizer.load(GOLDEN / "text")
    with pytest.raises(ValueError):
        tokenizer.encode("\ud800")
    with pytest.raises(TypeError):
        tokenizer.encode(b"bytes")
    with pytest.raises(FileNotFoundError):
        trine.Tokenizer.load(tmp_path / "missing.json")
    for number, bad in enumerate((b"", b"{", b"[]", b'{"model": {"type": "Other"}}')):
        path = tmp_path / f"{number}.json"
        path.write_bytes(bad)
        with pytest.raises(RuntimeError):
            trine.Tokenizer.load(path)
