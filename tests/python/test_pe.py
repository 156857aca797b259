"""The Perception Encoder in timm's layout, towers in OpenCLIP's, and ImageBind: every stage as the reference gives it."""

import json

import numpy as np
import pytest
import torch
from conftest import GOLDEN, import_maker, load_safetensors

import trine

PICTURES = GOLDEN / "vision/pictures.safetensors"


def scale_error(got, wanted):
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max() / wanted.abs().max())


def towers(encoder):
    """(image, text), None for what is not there."""
    return (encoder.image, encoder.text) if isinstance(encoder, trine.Encoders) else (encoder, None)


@pytest.mark.parametrize(
    "case", ["pe/core", "pe/giant", "pe/lang", "pe/spatial", "pe/open_clip", "pe/open_clip_custom", "imagebind/small"]
)
def test_every_stage_equals_the_reference(case):
    pictures = {name: pixels.numpy() for name, pixels in load_safetensors(PICTURES)[0].items()}
    expected, metadata = load_safetensors(GOLDEN / case / "expected.safetensors")
    image, text = towers(trine.load_encoder(GOLDEN / case))
    names = [name.removeprefix("features.") for name in expected if name.startswith("features.")]
    assert len(names) >= 3
    for name in names:
        pixels = image.preprocess(pictures[name])
        if f"pixels.{name}" in expected:
            assert torch.equal(pixels, expected[f"pixels.{name}"])
        assert scale_error(image.encode(pixels[None])[0], expected[f"features.{name}"]) < 1e-4
    assert (text is None) == ("text_features" not in expected)
    if text is not None:
        assert scale_error(text.encode(json.loads(metadata["texts"])), expected["text_features"]) < 1e-4


def test_an_embedder_of_an_open_clip_folder():
    model = trine.Embedder(GOLDEN / "pe/open_clip")
    assert model.modalities == ["image", "text"]
    assert model.embed_text(["a red door", ""]).shape == (2, 20)


def test_the_converter_names_what_is_missing():
    from trine import _imagebind

    tensors, _ = load_safetensors(GOLDEN / "imagebind/small/model.safetensors")
    assert _imagebind.fits(tensors) and not _imagebind.fits(["visual.conv1.weight"])
    with pytest.raises(ValueError, match="vision tower has a width of 16"):
        _imagebind.convert(tensors)
    heads = {"vision": 2, "text": 4, "audio": 1}
    kept, files = _imagebind.convert(tensors | {"modality_trunks.depth.blocks.0.norm_1.weight": torch.ones(16)}, heads=heads)
    assert set(kept) == set(tensors)
    assert files["config.json"] == json.loads((GOLDEN / "imagebind/small/config.json").read_text())
    tensors.pop("modality_heads.vision.2.weight")
    with pytest.raises(ValueError, match="modality_heads.vision.2.weight is missing"):
        _imagebind.convert(tensors, heads=heads)


# --- other configurations than the stored ones, where timm and open_clip are installed ---------------------------------


def maker(name):
    """make_NAME.py as a module."""
    return import_maker(f"make_{name}", "timm", "open_clip", "torchvision")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def picture(random):
    return random.integers(0, 256, (int(random.integers(4, 90)), int(random.integers(4, 90)), 3), dtype=np.uint8)


def compare_pictures(image, transform, reference, random):
    from PIL import Image

    for _ in range(3):
        pixels = picture(random)
        wanted = transform(Image.fromarray(pixels))
        ours = image.preprocess(pixels)
        assert torch.equal(ours, wanted)
        assert scale_error(image.encode(ours[None]), reference(wanted[None])) < 1e-4


CORE = ["vit_pe_core_tiny_patch16_384", "vit_pe_core_gigantic_patch14_448"]
DENSE = ["vit_pe_lang_gigantic_patch14_448", "vit_pe_spatial_large_patch14_448", "vit_pe_spatial_gigantic_patch14_448"]


@pytest.mark.parametrize("architecture", CORE + DENSE)
@pytest.mark.parametrize("seed", range(2))
def test_other_perception_encoders(tmp_path, architecture, seed):
    pe = maker("pe")
    random = np.random.default_rng([seed, len(architecture)])
    heads, patch = int(random.choice([1, 2, 3])), int(random.choice([3, 8]))
    size = patch * int(random.integers(1, 5)) + int(random.integers(0, 3))
    args = {
        "num_heads": heads,
        "embed_dim": heads * int(random.choice([4, 8, 16])),
        "depth": int(random.integers(1, 4)),
        "patch_size": patch,
        "img_size": size,
        "mlp_ratio": float(random.uniform(0.5, 3)),
        "num_classes": int(random.choice([0, 7])),
        "rope_grid_offset": float(random.choice([0, 1, 0.5])),
        "ref_feat_shape": [3, 3],
    }
    args |= {"attn_pool_num_heads": heads, "class_token": bool(seed)} if architecture in CORE else {}
    data = {
        "crop_mode": str(random.choice(["center", "squash"])),
        "crop_pct": float(random.uniform(0.5, 1)),
        "interpolation": str(random.choice(["bilinear", "bicubic"])),
        "mean": random.uniform(0.2, 0.7, 3).tolist(),
        "std": random.uniform(0.2, 0.7, 3).tolist(),
    }
    model = pe.make_timm(tmp_path, architecture, seed, args, data)
    transform = pe.create_transform(**pe.resolve_data_config(model=model))
    compare_pictures(trine.load_encoder(tmp_path), transform, model, random)


@pytest.mark.parametrize("seed", range(4))
def test_other_open_clips(tmp_path, seed):
    pe = maker("pe")
    random = np.random.default_rng(seed)
    heads, patch = int(random.choice([1, 2, 3])), int(random.choice([4, 7]))
    size, length = patch * int(random.integers(1, 5)), int(random.integers(8, 20))
    vision = {"image_size": size, "patch_size": patch, "layers": 2, "width": 24, "head_width": 8}
    if seed == 3:
        size = 384
        vision = {"image_size": size, "timm_model_name": CORE[0], "timm_pool": "map", "timm_proj": None}
    words = len(pe.WORDS.split()) + 4
    model_cfg = {
        "embed_dim": 17,
        "vision_cfg": vision,
        "text_cfg": {"context_length": length, "vocab_size": words, "width": 8 * heads, "heads": heads, "layers": 1},
        "custom_text": bool(seed % 2),
        "quick_gelu": seed < 2,
    }
    preprocess_cfg = {
        "interpolation": str(random.choice(["bilinear", "bicubic"])),
        "resize_mode": str(random.choice(["shortest", "squash"])),
        "mean": random.uniform(0.2, 0.7, 3).tolist(),
        "std": random.uniform(0.2, 0.7, 3).tolist(),
    }
    model, transform, tokenizer = pe.make_open_clip(tmp_path, model_cfg, preprocess_cfg, seed)
    encoder = trine.load_encoder(tmp_path)
    assert encoder.similarity.scale == pytest.approx(float(model.logit_scale.exp()), rel=1e-6)
    compare_pictures(encoder.image, transform, model.encode_image, random)
    given = [" ".join(random.choice(pe.WORDS.split(), int(random.integers(0, 30)))) for _ in range(6)]
    wanted = model.encode_text(pe.token_ids(tokenizer, given, length))
    assert scale_error(encoder.text.encode(given), wanted) < 1e-4


@pytest.mark.parametrize("seed", range(2))
def test_other_imagebinds(tmp_path, seed):
    pytest.importorskip("torchaudio", reason="needs torchaudio, the reference of the filter bank")
    imagebind = maker("imagebind")
    random = np.random.default_rng(seed)
    width, patch = int(random.choice([12, 24])), int(random.choice([3, 8]))
    heads = {"vision": 3, "text": 2, "audio": int(random.choice([1, 4]))}
    tensors = imagebind.published(
        seed, width=width, out=9, blocks=seed + 1, image_size=patch * 3, patch=patch, frames=seed + 1, kernel=12
    )
    tokenizer = imagebind.make(tmp_path / "model", tensors, heads)
    encoder = trine.load_encoder(tmp_path / "model")
    look = lambda pixels: imagebind.features(tensors, "vision", pixels, heads["vision"])
    compare_pictures(encoder.image, imagebind.image_transform(patch * 3), look, random)
    given = ["a red door", "", "the old wooden lamp and the lamp", "zebras"]
    wanted = imagebind.features(tensors, "text", imagebind.token_ids(tokenizer, given, 16), heads["text"])
    assert scale_error(encoder.text.encode(given), wanted) < 1e-4
    for length in (500, 32_000, int(random.integers(33_000, 96_000))):
        samples = imagebind.sound(length)
        wanted = imagebind.vector(tensors, imagebind.mels_of(samples), heads["audio"])
        assert scale_error(encoder.audio.encode((samples, 16_000))[0], wanted) < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_other_pe_audios(tmp_path, seed):
    maker = import_maker("make_pe_audio", "transformers")
    random = np.random.default_rng(seed)
    groups = int(random.choice([1, 2]))
    heads = groups * int(random.integers(1, 4))
    audio = {
        "hidden_size": int(random.integers(5, 30)),
        "intermediate_size": int(random.integers(5, 30)),
        "num_hidden_layers": int(random.integers(1, 4)),
        "num_attention_heads": heads,
        "num_key_value_heads": heads // groups,
        "head_dim": int(random.choice([2, 6, 16])),
        "hidden_act": str(random.choice(["silu", "gelu"])),
        "attention_bias": bool(seed % 2),
        "rope_parameters": {"rope_type": "default", "rope_theta": float(random.choice([100, 20_000]))},
    }
    dac = {"downsampling_ratios": [[2, 5], [4], [2, 3, 3]][seed], "encoder_hidden_size": 3, "codebook_dim": 5}
    hop = int(np.prod(dac["downsampling_ratios"])) * (1 + seed)
    model, extractor, tokenizer = maker.make(tmp_path / "model", seed, audio=audio, dac=dac, hop=hop)
    encoder = trine.load_encoder(tmp_path / "model")
    for length in (1, hop, int(random.integers(2, 3_000))):
        samples, wanted = maker.clip_vector(model, extractor, maker.sound(length))
        clip = (maker.sound(length), 48_000)
        assert torch.equal(encoder.audio.preprocess(clip), samples)
        assert scale_error(encoder.audio.encode(clip)[0], wanted) < 1e-4
    given = ["a red door", "", "the old wooden lamp and the lamp beside the door " * 3]
    assert scale_error(encoder.text.encode(given), maker.text_vectors(model, tokenizer, given, 32)) < 1e-4


# --- PE's towers for videos, and PE-AV ---------------------------------------------------------------------------------

PAIRS = {
    "audio_text": ("audio", "text_audio"),
    "video_text": ("video", "text_video"),
    "audio_video": ("audio", "video"),
    "audio_video_text": ("audio_video", "text_audio_video"),
    "audio_plus_text_video": ("audio_plus_text", "video"),
    "video_plus_text_audio": ("video_plus_text", "audio"),
}


def assert_all_equal(model, found, wanted):
    """Vectors and scores, by the reference's names; it pairs rows, so each is there once for each text."""
    assert {name.removesuffix("_embeds") for name in wanted if name.endswith("_embeds")} == set(found)
    for name in found:
        value = wanted[f"{name}_embeds"]
        assert scale_error(found[name].expand_as(value), value) < 1e-4, name
    assert sorted(model.pairs) == sorted(PAIRS)
    for pair, (a, b) in PAIRS.items():
        value = wanted[f"logits_{pair}"].flatten()
        logits = model.logits(pair, found[a], found[b])
        assert scale_error(logits.flatten().expand_as(value), value) < 1e-4, pair
        assert torch.equal(model.probabilities(pair, found[a], found[b]), logits.sigmoid())


def golden_sound(samples):
    """make_pe_audio's."""
    clip = next(iter(load_safetensors(GOLDEN / "spectrograms/clip.safetensors")[0].values())).numpy()
    return np.resize(clip.astype(np.float32) / 2**15, samples)


def test_pe_av_has_all_its_heads():
    expected, metadata = load_safetensors(GOLDEN / "pe_video/both/expected.safetensors")
    model = trine.PeAudioVideo(GOLDEN / "pe_video/both")
    video, texts = expected["frames"].numpy(), json.loads(metadata["texts"])
    found = model.embed(audio=(golden_sound(500), 48_000), video=video, text=texts)
    assert_all_equal(model, found, expected)
    assert set(model.embed(text="a red door")) == {"text_audio", "text_video", "text_audio_video"}
    described = model.describe()
    assert described["video.frames"] == "of a video 3, evenly from the first to the last"
    assert described["audio_text.similarity"].startswith("sigmoid of ")
    assert "PeAudioVideo(" in repr(model) and model.dim == 16


def test_what_pe_av_refuses():
    model = trine.PeAudioVideo(GOLDEN / "pe_video/small")
    for given, words in [
        ({}, "there is none"),
        ({"audio": np.zeros(100, np.float32)}, "the model has video, text"),
        ({"video": np.zeros((0, 8, 8, 3), np.uint8)}, "at least one frame"),
        ({"text": ["a", "\udcff"]}, "surrogates"),
    ]:
        with pytest.raises(ValueError, match=words):
            model.embed(**given)
    with pytest.raises(ValueError, match="no scores of audio_text"):
        model.logits("audio_text", np.zeros(16), np.zeros(16))
    with pytest.raises(ValueError, match="wanted one of audio_text"):
        model.logits("text", np.zeros(16), np.zeros(16))
    with pytest.raises(RuntimeError, match="known are pe_audio_video, pe_audio, pe_video"):
        trine.PeAudioVideo(GOLDEN / "vision/clip")


def test_an_embedder_of_pe_av():
    expected, _ = load_safetensors(GOLDEN / "pe_video/both/expected.safetensors")
    video = expected["frames"].numpy()
    model = trine.Embedder(GOLDEN / "pe_video/both")
    assert model.modalities == ["image", "text", "audio"]
    unit = torch.nn.functional.normalize
    assert torch.allclose(model.embed_image(video[0]), unit(expected["image"], dim=0), atol=1e-5)
    assert torch.allclose(model.embed_video(video), unit(expected["video_embeds"][0], dim=0), atol=1e-5)
    with pytest.raises(ValueError, match="not trained on pairs"):  # its scores are of vectors that have a length
        model.probabilities(video[0], ["a red door"])


def pe_video_configs(random):
    groups = int(random.choice([1, 2]))
    heads = groups * int(random.integers(1, 3))
    size = 4 * int(random.integers(2, 5))
    tower = lambda: {
        "intermediate_size": int(random.integers(5, 30)),
        "num_hidden_layers": int(random.integers(1, 3)),
        "num_attention_heads": heads,
        "num_key_value_heads": heads // groups,
        "head_dim": int(random.choice([2, 6, 16])),
        "hidden_act": str(random.choice(["silu", "gelu"])),
        "attention_bias": bool(random.integers(2)),
        "rope_parameters": {"rope_type": "default", "rope_theta": float(random.choice([100, 20_000]))},
    }
    hidden = int(random.integers(5, 30))
    vision = {
        "architecture": str(random.choice(CORE)),
        "num_classes": int(random.integers(3, 20)),
        "model_args": {"embed_dim": 24, "depth": 2, "num_heads": 3, "patch_size": 4, "img_size": size,
                       "attn_pool_num_heads": 2, "mlp_ratio": float(random.uniform(0.5, 3))},
    }  # fmt: skip
    video = tower() | {"hidden_size": hidden, "vision_config": vision}
    return size, video, tower() | {"hidden_size": hidden}, tower() | {"hidden_size": int(random.integers(5, 30))}


@pytest.mark.parametrize("seed", range(3))
def test_other_pe_videos(tmp_path, seed):
    maker = import_maker("make_pe_video", "transformers", "timm", "torchvision")
    random = np.random.default_rng([seed, 7])
    size, video, _, _ = pe_video_configs(random)
    num_frames = [None, 2, 6][seed]
    options = {"video": video, "size": size, "num_frames": num_frames, "nested": bool(seed % 2)}
    model, tokenizer = maker.make(tmp_path / "model", seed, **options)
    ours = trine.load_encoder(tmp_path / "model")
    embedder = trine.Embedder(tmp_path / "model")
    for count in (1, 2, int(random.integers(3, 9))):
        clip = maker.frames(count, seed)
        pixels = torch.stack([ours.image.preprocess(frame) for frame in clip.numpy()])
        wanted = maker.pixels_of(clip, size, num_frames)[0]
        seen = maker.sampled(pixels[None], num_frames)
        assert seen[0].shape == wanted.shape and float((seen[0] - wanted).abs().max()) < 2.1 / 255  # one byte more or less
        vector = maker.video_vector(model, seen)
        assert scale_error(ours.image.encode_video(pixels), vector) < 1e-4
        assert torch.allclose(embedder.embed_video(clip), torch.nn.functional.normalize(vector, dim=0), atol=1e-5)
    given = ["a red door", "", "the old wooden lamp and the lamp beside the door " * 3]
    batch = maker.tokens(tokenizer, given)
    assert scale_error(ours.text.encode(given), maker.text_vectors(model, batch)) < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_other_pe_avs(tmp_path, seed):
    maker = import_maker("make_pe_video", "transformers", "timm", "torchvision")
    random = np.random.default_rng([seed, 8])
    size, video, audio, both = pe_video_configs(random)
    num_frames, nested = [None, 3, 4][seed], seed == 2
    dac = {"downsampling_ratios": [[2, 5], [4], [2, 3, 3]][seed], "encoder_hidden_size": 3, "codebook_dim": 5}
    hop = int(np.prod(dac["downsampling_ratios"]))
    model, tokenizer = maker.make(
        tmp_path / "model", seed, video=video, audio=audio, both=both, dac=dac, hop=hop, size=size, num_frames=num_frames,
        nested=nested)  # fmt: skip
    ours = trine.PeAudioVideo(tmp_path / "model")
    image = trine.load_encoder(tmp_path / "model").image
    given = ["a red door", "", "the old wooden lamp and the lamp beside the door " * 3]
    for count, samples in ((1, 1), (5, int(random.integers(20, 300))), (int(random.integers(2, 9)), 7 * hop)):
        clip = maker.frames(count, seed)
        pixels = torch.stack([image.preprocess(frame) for frame in clip.numpy()])
        batch = maker.tokens(tokenizer, given)
        wanted = maker.all_vectors(model, maker.sampled(pixels[None], num_frames), maker.sound(samples), batch, hop)
        found = ours.embed(audio=(maker.sound(samples), 48_000), video=clip, text=given)
        assert_all_equal(ours, found, wanted)
