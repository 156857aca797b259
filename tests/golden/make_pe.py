"""Writes tests/golden/pe with timm 1.0 and open_clip 3.3 over Pillow: small checkpoints of the Perception Encoder as timm
keeps it, and of image and text towers as OpenCLIP does, with random weights, and what the references make of pictures and
texts.

    python tests/golden/make_pe.py

The pictures are those of tests/golden/vision. Every folder is a checkpoint with `expected.safetensors`: `bytes.*`,
`pixels.*` (one) and `features.*` by the pictures' names, `text_features` of the texts in its metadata. The folder `named`
has no weights: timm's smallest named network is too large to keep, both sides make it from the same integers.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import timm
import torch
from make_encoders import noise
from make_vision import FOLDER as VISION
from make_vision import PLAIN, TEXTS, WORDS, randomise, save, write_tokenizer
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config
from timm.models._hub import save_for_hf

FOLDER = Path(__file__).parent / "pe"

SMALL = dict(embed_dim=16, depth=2, num_heads=2, patch_size=4, img_size=16)


def pictures():
    return {name: Image.fromarray(p.numpy()) for name, p in load_file(VISION / "pictures.safetensors").items()}


def stages(transform, given, names, features):
    """What a transform that ends with ToTensor and Normalize gives, before and after these two, and the features."""
    tensors = {}
    for name in names:
        picture = given[name].convert("RGB")
        for step in transform.transforms[:-2]:
            picture = step(picture)
        pixels = transform(given[name])
        tensors[f"bytes.{name}"] = torch.from_numpy(np.array(picture))
        if name == names[0]:
            tensors[f"pixels.{name}"] = pixels.contiguous()
        tensors[f"features.{name}"] = features(pixels[None])[0].contiguous()
    return tensors


def make_timm(folder, architecture, seed, args, data=None, dtype=torch.float32):
    """The checkpoint, and the model as a reader of it gets it."""
    shutil.rmtree(folder, ignore_errors=True)
    model = randomise(timm.create_model(architecture, **args), seed).to(dtype)
    save_for_hf(model, folder, safe_serialization=True, data_config=data)
    return timm.create_model(f"local-dir:{folder}", pretrained=True).float().eval()


def write_timm(given):
    for name, architecture, args, data, dtype in [
        ("core", "vit_pe_core_base_patch16_224", dict(SMALL, attn_pool_num_heads=4, mlp_ratio=1.5, num_classes=20),
         dict(interpolation="bilinear", crop_mode="squash"), torch.float32),
        ("giant", "vit_pe_core_gigantic_patch14_448", dict(SMALL, num_heads=1, attn_pool_mlp_ratio=2.3, num_classes=0),
         dict(crop_pct=0.7), torch.float16),
        ("lang", "vit_pe_lang_large_patch14_448", dict(SMALL, num_classes=0), dict(crop_pct=0.9), torch.float32),
        ("spatial", "vit_pe_spatial_tiny_patch16_512",
         dict(SMALL, global_pool="token", rope_temperature=100.0, num_classes=0), None, torch.float16),
    ]:  # fmt: skip
        model = make_timm(FOLDER / name, architecture, len(name), args, data, dtype)
        transform = create_transform(**resolve_data_config(model=model))
        save(FOLDER / name, stages(transform, given, [*PLAIN, "strip"], model))


def make_open_clip(folder, model_cfg, preprocess_cfg, seed):
    """The checkpoint, its tokenizer, and the model and transform as a reader of it gets them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2))
    kind = open_clip.CustomTextCLIP if model_cfg.get("custom_text") else open_clip.CLIP
    options = {k: v for k, v in model_cfg.items() if k != "custom_text"}
    model = randomise(kind(**options), seed)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    words = ["[PAD]", "[UNK]", *WORDS.split(), "[CLS]", "[SEP]"]
    tokenizer = write_tokenizer(folder, words, "[CLS] $A [SEP]", "[PAD]")
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return model.eval(), transform, tokenizer


def token_ids(tokenizer, texts, length):
    options = dict(padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return tokenizer(texts, **options).input_ids


def without_conversion(transform):
    """The pictures are RGB already."""
    transform.transforms = [t for t in transform.transforms if not isinstance(t, open_clip.transform.MaybeConvertMode)]
    return transform


def small_towers(vocab_size):
    return {
        "embed_dim": 20,
        "vision_cfg": {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 4, "mlp_ratio": 1.5},
        "text_cfg": {"context_length": 16, "vocab_size": vocab_size, "width": 16, "heads": 2, "layers": 2},
    }


def write_open_clip(given):
    vocab_size = len(WORDS.split()) + 4
    plain = small_towers(vocab_size) | {"quick_gelu": True}
    custom = small_towers(vocab_size) | {"custom_text": True, "init_logit_bias": -10}
    for name, model_cfg, preprocess_cfg in [
        ("open_clip", plain, {}),
        ("open_clip_custom", custom, {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bilinear",
                                      "resize_mode": "squash"}),
    ]:  # fmt: skip
        folder = FOLDER / name
        model, transform, tokenizer = make_open_clip(folder, model_cfg, preprocess_cfg, len(name))
        tensors = stages(without_conversion(transform), given, PLAIN, model.encode_image)
        save(folder, tensors | {"text_features": model.encode_text(token_ids(tokenizer, TEXTS, 16)).contiguous()})


def fill(model):
    """Weights of names and places, scaled so that the signal keeps its size; in C++ again."""
    for name, p in model.state_dict().items():
        values = torch.from_numpy(noise(name, p.numel())).view(p.shape)
        if p.dim() > 1:
            values = values * (2 / p[0].numel() ** 0.5)
        elif name.endswith("weight"):
            values = 1 + values / 4
        else:
            values = values / 4
        p.copy_(values)
    return model.eval()


def write_named(given):
    """PE-Core's smallest network, and a short text tower as PE-Core's is."""
    folder = FOLDER / "named"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    words = ["[PAD]", "[UNK]", *WORDS.split(), "[CLS]", "[SEP]"]
    model_cfg = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 384, "timm_model_name": "vit_pe_core_tiny_patch16_384", "timm_model_pretrained": False,
                       "timm_pool": "map", "timm_proj": None},
        "text_cfg": {"context_length": 16, "vocab_size": len(words), "width": 32, "heads": 2, "layers": 2},
        "custom_text": True,
    }  # fmt: skip
    preprocess_cfg = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2))
    tokenizer = write_tokenizer(folder, words, "[CLS] $A [SEP]", "[PAD]")
    model = fill(open_clip.CustomTextCLIP(**{k: v for k, v in model_cfg.items() if k != "custom_text"}))
    transform = without_conversion(open_clip.image_transform(384, is_train=False, **preprocess_cfg))
    tensors = stages(transform, given, ["photo", "tall"], model.encode_image)
    tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("features")}
    save(folder, tensors | {"text_features": model.encode_text(token_ids(tokenizer, TEXTS, 16)).contiguous()})


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    write_timm(pictures())
    write_open_clip(pictures())
    write_named(pictures())
