"""Meta's own weights of PE-Core (`PE-Core-B16-224.pt`) in OpenCLIP's layout: what `trine.convert` does with them.

The file holds an image tower under "visual." and a text tower beside it. Images go to timm's names under "visual.trunk.",
texts to "text."; the sizes that the shapes tell go into an open_clip_config.json. A tokenizer is not in the file: it is
CLIP's, whose tokenizer.json belongs beside the weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

__all__ = ["convert", "fits"]

_STEM, _PROBE, _TOKENS = "visual.conv1.weight", "visual.attn_pool.probe", "token_embedding.weight"
_NETWORKS = {  # (width, side of a patch, side of a picture) to timm's name
    (192, 16, 384): "vit_pe_core_tiny_patch16_384",
    (384, 16, 384): "vit_pe_core_small_patch16_384",
    (768, 16, 224): "vit_pe_core_base_patch16_224",
    (1024, 14, 336): "vit_pe_core_large_patch14_336",
    (1536, 14, 448): "vit_pe_core_gigantic_patch14_448",
}
_HEAD_WIDTH = 64  # of every published text tower
_NAMES = [  # of the image tower, Meta's and timm's, in this order
    ("conv1", "patch_embed.proj"),
    ("positional_embedding", "pos_embed"),
    ("class_embedding", "cls_token"),
    ("transformer.resblocks.", "blocks."),
    ("attn_pool.layernorm", "attn_pool.norm"),
    ("attn_pool.probe", "attn_pool.latent"),
    ("attn_pool.attn.out_proj", "attn_pool.proj"),
    ("ln_pre", "norm_pre"),
    ("ln_post", "norm"),
    ("ln_", "norm"),
    ("ls_1.gamma", "gamma_1"),
    ("ls_2.gamma", "gamma_2"),
    ("attn.in_proj_", "attn.qkv."),
    ("attn.out_proj", "attn.proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
]
_POOLED = "attn_pool.attn.qkv."  # query, key and value in one, which timm keeps as one and two


def fits(names: Iterable[str]) -> bool:
    """Whether the tensors' names are those of PE-Core's two towers.

    >>> fits({"visual.conv1.weight", "visual.attn_pool.probe", "token_embedding.weight"})
    True
    """
    return {_STEM, _PROBE, _TOKENS} <= {name.removeprefix("module.") for name in names}


def convert(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors that the library reads, and {"open_clip_config.json": ...} to write beside them.

    ValueError names a tensor that is missing, or the sizes of a network that is not known.

    >>> tensors, files = convert(torch.load("PE-Core-B16-224.pt", weights_only=True))     # doctest: +SKIP
    >>> files["open_clip_config.json"]["model_cfg"]["vision_cfg"]["timm_model_name"]      # doctest: +SKIP
    'vit_pe_core_base_patch16_224'
    """
    given = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}

    def shape(name: str) -> tuple[int, ...]:
        if name not in given:
            raise ValueError(f"[convert] The weights are not PE-Core's: {name} is missing.")
        return tuple(given[name].shape)

    width, _, _, patch = shape(_STEM)
    size = patch * int(shape("visual.positional_embedding")[0] ** 0.5)  # the class token's makes no row more
    name = _NETWORKS.get((width, patch, size))
    if name is None:
        known = ", ".join(f"{w} wide, {s} px in patches of {p}" for w, p, s in _NETWORKS)
        raise ValueError(f"[convert] The image tower is {width} wide, {size} px in patches of {patch}; known are {known}.")
    text_width = shape(_TOKENS)[1]
    blocks = {key.split(".")[2] for key in given if key.startswith("transformer.resblocks.")}
    model_cfg = {
        "embed_dim": shape("visual.proj")[1],
        "vision_cfg": {"image_size": size, "timm_model_name": name, "timm_pool": "map", "timm_proj": None},
        "text_cfg": {
            "context_length": shape("positional_embedding")[0],
            "vocab_size": shape(_TOKENS)[0],
            "width": text_width,
            "heads": text_width // _HEAD_WIDTH,
            "layers": len(blocks),
        },
        "custom_text": True,
    }
    preprocess_cfg = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}

    kept: dict[str, torch.Tensor] = {}
    for key, tensor in given.items():
        if key.startswith("visual."):
            kept |= {f"visual.trunk.{name}": part for name, part in _image_part(key.removeprefix("visual."), tensor)}
        else:
            kept[key if key == "logit_scale" else f"text.{key}"] = tensor
    return kept, {"open_clip_config.json": {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}}


def _image_part(name: str, tensor: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """A tensor of the image tower by timm's names, as timm lays it out."""
    if name == "proj":  # which has no bias
        return [("head.weight", tensor.t()), ("head.bias", tensor.new_zeros(tensor.shape[1]))]
    for ours, theirs in _NAMES if not name.startswith("attn_pool.attn.in_proj_") else [("in_proj_", "qkv.")]:
        name = name.replace(ours, theirs)
    if name.startswith(_POOLED):
        kind, third = name.removeprefix(_POOLED), tensor.shape[0] // 3
        return [(f"attn_pool.q.{kind}", tensor[:third]), (f"attn_pool.kv.{kind}", tensor[third:])]
    if name == "cls_token":
        tensor = tensor[None, None]
    if name == "pos_embed":
        tensor = tensor[None]
    return [(name, tensor)]
