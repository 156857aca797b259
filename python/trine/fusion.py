"""Learned combinations of the sequences of several modalities: modules that any PyTorch optimiser trains.

>>> fusion = trine.fusion.AttentionFusion(["image", "text"], hidden_dim=64).eval()
>>> image, text = torch.randn(2, 49, 64), torch.randn(2, 12, 64)
>>> words = torch.tensor([[True] * 12, [False] * 12])       # the second sample has no text
>>> fused, gates = fusion({"image": image, "text": text}, {"text": words})
>>> fused.shape, gates["text"][1].item()
(torch.Size([2, 64]), 0.0)

Of all fusions:

- features: {modality: (B, T, D) floats}, T may differ between modalities; a modality that is left out is absent for all;
- masks: {modality: (B, T) bool}, True = a real step; a modality that is left out is wholly real, a row without True is a
  sample that lacks the modality. What padded steps hold does not matter;
- they return fused (B, D), and weights {modality: (B)}: what each counts, 0 where it is missing, summing to 1.

ValueError for names, shapes and types that do not fit, and for a sample without any modality, named by its index. A real
step that is not finite makes the results of its sample not finite, and no other's. New modules hold random weights and
use dropout 0.1 until `eval()`. Keys of `state_dict()` are those of the same modules written in PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from . import _inputs, _trine
from ._module import Module, tensors

__all__ = ["AttentionFusion", "CrossModalAttention", "EarlyFusion", "Fusion", "HybridFusion", "LateFusion", "load"]


class CrossModalAttention(Module):
    """Multi-head attention from one modality to another, which also returns its weights.

    >>> attention = trine.fusion.CrossModalAttention(64, num_heads=4)
    >>> output, weights = attention(torch.randn(2, 6, 64), torch.randn(2, 9, 64))
    >>> output.shape, weights.shape
    (torch.Size([2, 6, 64]), torch.Size([2, 4, 6, 9]))
    """

    _kind = _trine.CrossModalAttention

    def __init__(self, dim: int, num_heads: int = 8) -> None:
        super().__init__(_trine.CrossModalAttention(dim, num_heads))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor | None = None, key_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """query (B, Tq, D), key and value (B, Tk, D), key_mask (B, Tk) bool -> output (B, Tq, D), weights (B, H, Tq, Tk).

        `value` defaults to `key`. A sample without a real key gets an output and weights of exactly zero.
        """
        return self._checked().forward(query, key, value, key_mask)


class _Fusion(Module):
    """What the four fusions have in common."""

    _kind = _trine.Fusion
    _type: str

    @classmethod
    def _of(cls, module: Any) -> _Fusion:
        if module.type != cls._type:
            raise RuntimeError(f"[{cls.__name__}] there is a fusion of type {module.type}, wanted {cls._type}")
        return super()._of(module)

    def forward(
        self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """{m: (B, T, D)}, {m: (B, T) bool} -> fused (B, D), weights {m: (B)}; see `trine.fusion`."""
        return self._checked().forward(tensors(features, "features"), tensors(masks, "masks"))


class _LayeredFusion(_Fusion):
    """Those that have the same arguments."""

    def __init__(
        self, modalities: Sequence[str], hidden_dim: int, num_heads: int = 8, num_layers: int = 1, ff_dim: int = 2048
    ) -> None:
        arguments = {"num_layers": num_layers, "ff_dim": ff_dim}
        super().__init__(_trine.Fusion(self._type, _names(modalities), hidden_dim, num_heads, **arguments))


class EarlyFusion(_LayeredFusion):
    """All steps in one sequence from the first layer, each with its modality's learned vector added, then their mean.

    The weights are the modalities' shares of the steps.

    >>> fusion = trine.fusion.EarlyFusion(["image", "text"], hidden_dim=64, num_layers=2)
    """

    _type = "early"


class LateFusion(_LayeredFusion):
    """Each modality alone to its mean; then a softmax over learned scores of those that a sample has.

    >>> fusion = trine.fusion.LateFusion(["image", "text"], hidden_dim=64, num_layers=2)
    """

    _type = "late"


class HybridFusion(_LayeredFusion):
    """Early and late side by side, joined by one linear layer; the weights are the late branch's.

    >>> fusion = trine.fusion.HybridFusion(["image", "text"], hidden_dim=64, num_layers=2)
    """

    _type = "hybrid"


class AttentionFusion(_Fusion):
    """Attention within each modality, then from each to the others that the sample has, then gates over what is there.

    The cross-attention layers are shared by all ordered pairs of modalities; a sample with one modality keeps its
    features there. The weights are the gates.

    >>> fusion = trine.fusion.AttentionFusion(["image", "text", "audio"], hidden_dim=64, num_cross_layers=2)
    """

    _type = "attention"

    def __init__(
        self,
        modalities: Sequence[str],
        hidden_dim: int,
        num_heads: int = 8,
        num_self_layers: int = 1,
        num_cross_layers: int = 1,
        ff_dim: int = 2048,
    ) -> None:
        arguments = {"num_self_layers": num_self_layers, "num_cross_layers": num_cross_layers, "ff_dim": ff_dim}
        super().__init__(_trine.Fusion(self._type, _names(modalities), hidden_dim, num_heads, **arguments))


_TYPES = {cls._type: cls for cls in (EarlyFusion, LateFusion, HybridFusion, AttentionFusion)}


def Fusion(type: str, modalities: Sequence[str], hidden_dim: int, **arguments: Any) -> _Fusion:
    """The fusion of a type: "early", "late", "hybrid" or "attention". The arguments are those of its class.

    >>> trine.fusion.Fusion("late", ["image", "text"], hidden_dim=64, num_layers=2)     # doctest: +ELLIPSIS
    LateFusion(
      modalities=['image', 'text'], hidden_dim=64, ...
    """
    if type not in _TYPES:
        raise ValueError(f"A type of fusion is {', '.join(_TYPES)}, not {type!r}.")
    return _TYPES[type](modalities, hidden_dim, **arguments)


def load(directory: _inputs.PathLike) -> _Fusion:
    """The fusion that a folder holds, of whatever type; see `AttentionFusion.save`.

    >>> fusion = trine.fusion.load("fusion").eval()             # doctest: +SKIP
    """
    module = _trine.Fusion.load(_inputs.path(directory))
    return _TYPES[module.type]._of(module)


def _names(modalities: Sequence[str]) -> list[str]:
    if isinstance(modalities, str):
        raise TypeError(f"Modalities must be a list of names, not the str {modalities!r}.")
    return list(modalities)
