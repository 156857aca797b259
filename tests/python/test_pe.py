"""The Perception Encoder in timm's layout, towers in OpenCLIP's, and ImageBind: every stage as the reference gives it."""

import importlib
import json
import re
import shutil
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import GOLDEN, import_maker, load_safetensors

import trine
from trine import _imagebind
from trine.convert import convert

PICTURES = GOLDEN / "vision/pictures.safetensors"
CLIP_OF_TEN_FRAMES = GOLDEN / "video/h264_709.mp4"  # in one second


def scale_error(got, wanted):
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max() / wanted.abs().max())


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=-1)


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
    } | ({"init_logit_bias": -10} if seed % 2 else {})
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
    ids = pe.token_ids(tokenizer, given, length)
    assert scale_error(encoder.text.encode(given), model.encode_text(ids)) < 1e-4
    pictures = [picture(random) for _ in range(3)]
    pixels = torch.stack([encoder.image.preprocess(one) for one in pictures])
    given = ["a red door", "the old wooden lamp", ""]  # without windows
    logits, _ = model.get_logits(pixels, pe.token_ids(tokenizer, given, length))  # with the bias, where there is one
    embedder = trine.Embedder(tmp_path)
    assert embedder.describe()["text.similarity"].startswith("sigmoid" if seed % 2 else "softmax")
    wanted = logits.sigmoid() if seed % 2 else logits.softmax(1)
    assert (embedder.probabilities(pictures, given) - wanted).abs().max() < 1e-4


def meta_state(state):
    """OpenCLIP's tensors of a PE-Core by the names of Meta's own files."""
    names = {"patch_embed.proj": "conv1", "pos_embed": "positional_embedding", "cls_token": "class_embedding",
             "blocks.": "transformer.resblocks.", "norm_pre": "ln_pre", "attn_pool.norm": "attn_pool.layernorm",
             "attn_pool.latent": "attn_pool.probe", "attn_pool.proj": "attn_pool.attn.out_proj",
             "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             ".norm1": ".ln_1", ".norm2": ".ln_2"}  # fmt: skip
    found = {}
    for name, tensor in state.items():
        if not name.startswith("visual.trunk."):
            found[name.removeprefix("text.")] = tensor
            continue
        name = name.removeprefix("visual.trunk.")
        if name == "head.bias" or name.startswith("attn_pool.kv."):
            continue
        if name == "head.weight":
            name, tensor = "proj", tensor.t()
        if name in ("pos_embed", "cls_token"):
            tensor = tensor.reshape(-1, tensor.shape[-1]) if name == "pos_embed" else tensor.flatten()
        if name.startswith("attn_pool.q."):
            tensor = torch.cat([tensor, state[f"visual.trunk.{name.replace('.q.', '.kv.')}"]])
            name = f"attn_pool.attn.in_proj_{name.removeprefix('attn_pool.q.')}"
        name = re.sub(r"^norm\.", "ln_post.", name)
        for timm, meta in names.items():
            name = name.replace(timm, meta)
        found[f"visual.{name}"] = tensor.contiguous()
    return found


def test_metas_own_file_of_a_pe_core(tmp_path):
    pe = maker("pe")
    from timm.models.eva import checkpoint_filter_fn

    words = len(pe.WORDS.split()) + 4
    model_cfg = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 384, "timm_model_name": CORE[0], "timm_pool": "map", "timm_proj": None},
        "text_cfg": {"context_length": 16, "vocab_size": words, "width": 128, "heads": 2, "layers": 2},
        "custom_text": True,
    }
    preprocess_cfg = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    model, transform, tokenizer = pe.make_open_clip(tmp_path / "open_clip", model_cfg, preprocess_cfg, 5)
    model.visual.trunk.head.bias.zero_()  # Meta's has none
    state = model.state_dict()
    meta = meta_state(state)
    read = checkpoint_filter_fn(meta, model.visual.trunk)  # timm's reading of such files
    assert all(torch.equal(read[name], tensor) for name, tensor in model.visual.trunk.state_dict().items())
    (tmp_path / "meta").mkdir()
    torch.save({"weights": {f"module.{name}": tensor for name, tensor in meta.items()}}, tmp_path / "meta/PE-Core-T16-384.pt")
    for file in (tmp_path / "open_clip").glob("token*.json"):
        shutil.copy(file, tmp_path / "meta")

    done = convert(tmp_path / "meta", tmp_path / "converted")
    assert done.layout == "pe-core" and "open_clip_config.json" in done.written
    encoder = trine.load_encoder(tmp_path / "converted")
    random = np.random.default_rng(0)
    compare_pictures(encoder.image, transform, model.encode_image, random)
    ids = pe.token_ids(tokenizer, given := ["a red door", "the old wooden lamp"], 16)
    assert scale_error(encoder.text.encode(given), model.encode_text(ids)) < 1e-4
    pixels = encoder.image.preprocess(one := picture(random))
    wanted = model.get_logits(pixels[None], ids)[0].softmax(1)[0]
    assert (trine.Embedder(tmp_path / "converted").probabilities(one, given) - wanted).abs().max() < 1e-4


def test_what_no_meta_file_of_a_pe_core_is(tmp_path):
    tensors = {
        "visual.conv1.weight": torch.zeros(192, 3, 16, 16),
        "visual.attn_pool.probe": torch.zeros(1, 1, 192),
        "visual.positional_embedding": torch.zeros(1 + 24**2, 192),
        "token_embedding.weight": torch.zeros(7, 64),
    }
    for name, tensor, words in [
        ("visual.proj", None, "visual.proj is missing"),
        ("visual.conv1.weight", torch.zeros(190, 3, 16, 16), "190 wide, 384 px in patches of 16; known are 192 wide"),
    ]:
        torch.save({k: v for k, v in (tensors | {name: tensor}).items() if v is not None}, tmp_path / "model.pt")
        with pytest.raises(ValueError, match=words):
            convert(tmp_path / "model.pt")


def test_a_tower_without_texts_has_no_probabilities():
    with pytest.raises(ValueError, match="they are of pictures or clips against texts"):
        trine.Embedder(GOLDEN / "pe/core").probabilities(np.zeros((8, 8, 3), np.uint8), ["a red door"])


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


def imagebind_package():
    """The published code as it is packaged. Known to work: `pip install --no-deps imagebind-packaged iopath portalocker
    fvcore yacs termcolor einops pytorchvideo av torchaudio "setuptools<80"` beside timm, ftfy and torchvision, with
    torchaudio/lib removed where torch is for CPUs only."""
    for package in ("timm", "torchvision", "torchaudio", "pytorchvideo"):
        pytest.importorskip(package, reason=f"needs {package} for imagebind-packaged, the reference")
    import torchvision.transforms._functional_tensor as renamed

    sys.modules.setdefault("torchvision.transforms.functional_tensor", renamed)  # its name where pytorchvideo looks for it
    pytest.importorskip("imagebind", reason="needs imagebind-packaged, the reference")
    return importlib.import_module("imagebind.models.imagebind_model"), importlib.import_module("imagebind.data")


@pytest.mark.parametrize("seed", range(2))
def test_the_packaged_imagebind(tmp_path, monkeypatch, seed):
    """A .pth with random weights of its own class goes through convert; each tower on what its own data.py makes."""
    from PIL import Image

    network, data = imagebind_package()
    maker = import_maker("make_imagebind", "torchaudio")
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    heads = {"vision": 2 + seed, "text": 4 - seed, "audio": 1 + seed}
    dims = {f"{m}_embed_dim": 12 for m in ("vision", "text", "audio", "depth", "thermal", "imu")}
    dims |= {f"{m}_num_heads": heads.get(m, 1) for m in ("vision", "text", "audio", "depth", "thermal", "imu")}
    dims |= {f"{m}_num_blocks": 2 for m in ("vision", "text", "audio")} | {f"{m}_num_blocks": 1 for m in ("depth", "imu")}
    model = network.ImageBindModel(**dims, thermal_num_blocks=1, kernel_size=(2, 56, 56), out_embed_dim=10).eval()
    for name, parameter in model.named_parameters():
        if "log_logit_scale" not in name:
            parameter.copy_(parameter + 0.2 * torch.randn_like(parameter))
    torch.save(model.state_dict(), tmp_path / "imagebind.pth")
    tensors, files = _imagebind.convert(torch.load(tmp_path / "imagebind.pth", weights_only=True), heads=heads)
    tokenizer = maker.make(tmp_path / "model", tensors, heads)
    assert json.loads((tmp_path / "model/config.json").read_text()) == files["config.json"]
    encoder = trine.load_encoder(tmp_path / "model")

    for _ in range(3):
        Image.fromarray(pixels := picture(random)).save(tmp_path / "picture.png")
        wanted = data.load_and_transform_vision_data([tmp_path / "picture.png"], "cpu")
        assert torch.equal(encoder.image.preprocess(pixels)[None], wanted)
        assert scale_error(unit(encoder.image.encode(wanted)), model({"vision": wanted})["vision"]) < 1e-5
    given = ["a red door", "", "the old wooden lamp and the lamp", "zebras"]
    ids = maker.token_ids(tokenizer, given, 77)
    assert scale_error(unit(encoder.text.encode(given)), unit(model({"text": ids})["text"])) < 1e-5
    # the sampler of the commit that ImageBind requires: the last of three pieces at the end. pytorchvideo 0.1.5, the
    # released one, leaves the end out.
    places = lambda _, duration: [(start := Fraction(max(duration - 2, 0)) / 2 * i, start + 2) for i in range(3)]
    monkeypatch.setattr(data, "get_clip_timepoints", places)
    for length in (16_000, 32_000, 90_001):
        samples = maker.sound(length)
        monkeypatch.setattr(data.torchaudio, "load", lambda path: (torch.from_numpy(samples.copy())[None], 16_000))
        mels = data.load_and_transform_audio_data(["clip.wav"], "cpu")
        wanted = model({"audio": mels})["audio"]
        assert scale_error(unit(encoder.audio.encode((samples, 16_000))), unit(wanted)) < 1e-5


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
        ({"text": ["a", "\udcff"]}, "is the surrogate"),
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
    for frames in (video, list(video), torch.from_numpy(video)):
        assert torch.allclose(model.embed_video(frames), unit(expected["video_embeds"][0], dim=0), atol=1e-5)
    assert model.embed_video([video, video[:2]], truncate_dim=5).shape == (2, 5)


def test_probabilities_of_pe_are_of_features_with_a_length():
    expected, metadata = load_safetensors(GOLDEN / "pe_video/both/expected.safetensors")
    texts, video = json.loads(metadata["texts"]), expected["frames"].numpy()
    model, parts = trine.Embedder(GOLDEN / "pe_video/both"), trine.PeAudioVideo(GOLDEN / "pe_video/both")
    found = model.video_probabilities(video, texts)
    assert torch.allclose(found, expected["logits_video_text"].flatten().sigmoid(), atol=1e-5)
    assert model.video_probabilities([video, video[:1]], texts).shape == (2, len(texts))
    wanted = parts.logits("video_text", expected["image"], expected["text_video_embeds"]).sigmoid()
    assert torch.allclose(model.probabilities([video[0]], texts), wanted, atol=1e-5)
    clip = (golden_sound(9_600), 48_000)
    heard = parts.embed(audio=clip, text=texts)
    wanted = parts.probabilities("audio_text", heard["audio"], heard["text_audio"])
    mixed = model.probabilities([{"audio": clip}, {"image": video[0]}], texts)
    assert torch.allclose(mixed[:1], wanted, atol=1e-5) and mixed.shape == (2, len(texts))
    assert model.describe()["audio.similarity.source"].endswith(": audio_model.text_audio_logit_scale, "
                                                                "audio_model.text_audio_logit_bias")  # fmt: skip
    assert trine.Embedder(GOLDEN / "pe_audio/small").probabilities(clip, texts).shape == (len(texts),)
    with pytest.raises(ValueError, match="the model scores at most"):
        model.probabilities(video[0], ["the old wooden lamp " * 500])
    with pytest.raises(ValueError, match="s of sound, the model scores at most"):
        model.probabilities({"array": np.tile(golden_sound(48_000), 31), "sampling_rate": 48_000}, texts)


def test_frames_of_a_file_are_those_that_the_processor_takes(tmp_path):
    every = [frame.image for frame in trine.read_video(CLIP_OF_TEN_FRAMES, frames_per_second=10).frames]
    assert len(every) == 10
    both, small = (trine.Embedder(GOLDEN / "pe_video" / name) for name in ("both", "small"))
    for file in (CLIP_OF_TEN_FRAMES, str(CLIP_OF_TEN_FRAMES), CLIP_OF_TEN_FRAMES.read_bytes()):
        assert torch.allclose(both.embed_video(file), both.embed_video([every[i] for i in (0, 4, 9)]), atol=1e-6)
    assert torch.allclose(small.embed_video(CLIP_OF_TEN_FRAMES), small.embed_video(every), atol=1e-6)
    few = [frame.image for frame in trine.read_video(CLIP_OF_TEN_FRAMES, frames=4).frames]
    assert torch.allclose(small.embed_video(CLIP_OF_TEN_FRAMES, frames=4), small.embed_video(few), atol=1e-6)
    one = small.embed_video(CLIP_OF_TEN_FRAMES, frames_per_second=1)
    assert torch.allclose(one, small.embed_image(every[0]), atol=1e-6)
    for wrong in (0, -1, float("nan"), "2", 2_000):
        with pytest.raises(ValueError, match="frames_per_second"):
            small.embed_video(CLIP_OF_TEN_FRAMES, frames_per_second=wrong)
    with pytest.raises(ValueError, match="frames must not be below 0"):
        small.embed_video(CLIP_OF_TEN_FRAMES, frames=-1)
    with pytest.raises(FileNotFoundError):
        small.embed_video(tmp_path / "missing.mp4")


def test_frames_a_second_are_the_references_choice(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs transformers, the reference")
    pytest.importorskip("torchvision", reason="needs torchvision, the reference")
    every = [frame.image for frame in trine.read_video(CLIP_OF_TEN_FRAMES, frames_per_second=10).frames]
    metadata = type("Metadata", (), {"total_num_frames": 10, "fps": 10})
    for fps in (1, 2.5, 3, 7, 9.9):
        folder = shutil.copytree(GOLDEN / "pe_video/small", tmp_path / str(fps))
        path = folder / "video_preprocessor_config.json"
        config = json.loads(path.read_text()) | {"do_sample_frames": True, "fps": fps, "num_frames": None}
        path.write_text(json.dumps(config))
        chosen = transformers.PeVideoVideoProcessor(do_sample_frames=True).sample_frames(metadata, fps=fps).tolist()
        model = trine.Embedder(folder)
        found, wanted = model.embed_video(CLIP_OF_TEN_FRAMES), model.embed_video([every[i] for i in chosen])
        assert torch.allclose(found, wanted, atol=1e-6), fps


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
    image, embedder = trine.load_encoder(tmp_path / "model").image, trine.Embedder(tmp_path / "model")
    given = ["a red door", "", "the old wooden lamp and the lamp beside the door " * 3]
    for count, samples in ((1, 1), (5, int(random.integers(20, 300))), (int(random.integers(2, 9)), 7 * hop)):
        clip = maker.frames(count, seed)
        pixels = torch.stack([image.preprocess(frame) for frame in clip.numpy()])
        batch = maker.tokens(tokenizer, given)
        wanted = maker.all_vectors(model, maker.sampled(pixels[None], num_frames), maker.sound(samples), batch, hop)
        found = ours.embed(audio=(maker.sound(samples), 48_000), video=clip, text=given)
        assert_all_equal(ours, found, wanted)
        shares = embedder.video_probabilities(clip, given)
        assert (shares - wanted["logits_video_text"].flatten().sigmoid()).abs().max() < 1e-4
