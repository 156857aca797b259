"""The published weights of ImageBind as a checkpoint: what `trine.convert` does with `imagebind_huge.pth`.

The file holds a state dict of six modalities. Images, texts and sounds are kept under their own names; the sizes that the
shapes tell go into a config.json. The number of attention heads is in no shape: it is imagebind_huge's where the widths
are, else `heads` says it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

__all__ = ["convert", "fits"]

_KEPT = ("vision", "text", "audio")
_PLACES = ("modality_preprocessors", "modality_trunks", "modality_heads", "modality_postprocessors")
_STEM = "modality_preprocessors.vision.rgbt_stem.proj.1.weight"
_HEADS = {1280: 16, 1024: 16, 768: 12}  # by width, of imagebind_huge


def fits(names: Iterable[str]) -> bool:
    """Whether the tensors' names are ImageBind's.

    >>> fits({"modality_preprocessors.vision.rgbt_stem.proj.1.weight"})
    True
    """
    return _STEM in names


def convert(
    tensors: Mapping[str, torch.Tensor], *, heads: Mapping[str, int] | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors that the library reads, and {"config.json": ...} to write beside them.

    `heads`: attention heads of "vision", "text" and "audio", for networks of other widths than imagebind_huge's.
    ValueError names a tensor that is missing, or a width whose heads are not known.

    >>> tensors, files = convert(torch.load("imagebind_huge.pth", weights_only=True))     # doctest: +SKIP
    >>> files["config.json"]["vision_num_blocks"]                                         # doctest: +SKIP
    32
    """
    prefixes = tuple(f"{place}.{modality}." for place in _PLACES for modality in _KEPT)
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes) and not name.endswith(".mask")}

    def shape(name: str) -> tuple[int, ...]:
        if name not in kept:
            raise ValueError(f"[convert] The weights are not ImageBind's: {name} is missing.")
        return tuple(kept[name].shape)

    config: dict[str, Any] = {"model_type": "imagebind"}
    for modality in _KEPT:
        blocks = {name.split(".")[3] for name in kept if name.startswith(f"modality_trunks.{modality}.blocks.")}
        width = shape(f"modality_trunks.{modality}.blocks.0.norm_1.weight")[0]
        count = (heads or {}).get(modality, _HEADS.get(width))
        if count is None:
            raise ValueError(f"[convert] The {modality} tower has a width of {width}: say how many `heads` it has.")
        config |= {
            f"{modality}_embed_dim": width,
            f"{modality}_num_blocks": len(blocks),
            f"{modality}_num_heads": count,
        }
    _, _, frames, patch, _ = shape(_STEM)
    grid = round((shape("modality_preprocessors.vision.pos_embedding_helper.pos_embed")[1] - 1) ** 0.5)
    config |= {
        "out_embed_dim": shape("modality_heads.vision.2.weight")[0],
        "image_size": grid * patch,
        "patch_size": patch,
        "video_frames": frames,
        "vocab_size": shape("modality_preprocessors.text.token_embedding.weight")[0],
        "context_length": shape("modality_preprocessors.text.pos_embed")[1],
        "audio_kernel_size": shape("modality_preprocessors.audio.rgbt_stem.proj.weight")[2],
        "audio_stride": 10,  # of the published code, as the next two: their patches are counted in pos_embed
        "audio_num_mel_bins": 128,
        "audio_target_len": 204,
    }
    side = config["audio_kernel_size"]
    wanted = 1 + ((128 - side) // 10 + 1) * ((204 - side) // 10 + 1)
    if (found := shape("modality_preprocessors.audio.pos_embedding_helper.pos_embed")[1]) != wanted:
        raise ValueError(f"[convert] The audio tower has {found} positions, wanted {wanted}: 128 mels by 204 frames.")
    return kept, {"config.json": config}
