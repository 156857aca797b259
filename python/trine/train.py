"""What learned fusions and projections are trained with, beside PyTorch's own optimisers.

>>> fusion = trine.fusion.AttentionFusion(["image", "text"], hidden_dim=64)
>>> loss = trine.train.ContrastiveLoss(learnable=True)
>>> optimiser = torch.optim.AdamW([*fusion.parameters(), *loss.parameters()])
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.utils.data
from torch import Tensor

from . import _trine
from ._advise import advise
from ._module import Module, tensors

__all__ = ["PAIRS", "BalancedSampler", "ContrastiveLoss", "ModalityDropout", "advise", "contrastive_loss"]

PAIRS: dict[tuple[str, str], float] = _trine.CONTRASTIVE_PAIRS
"""Which modalities belong together, and how much each pair counts."""


def contrastive_loss(
    embeddings: Mapping[str, Tensor],
    temperature: float | Tensor = 0.07,
    ids: Tensor | None = None,
    present: Mapping[str, Tensor] | None = None,
    pairs: Mapping[tuple[str, str], float] = PAIRS,
) -> Tensor:
    """Symmetric InfoNCE, the weighted mean over pairs of modalities.

    embeddings {modality: (B, D)}, normalised here; temperature above 0, or a tensor () to learn it; ids (B) integers:
    samples of one id are positives of each other, by default each sample only of itself; present {modality: (B) bool}:
    which samples have it, by default all; pairs {(modality, modality): weight} -> ()

    A pair uses the samples that have both modalities; one with fewer than two is left out, and ValueError if none is
    left. Vectors of samples that lack a modality do not matter and get no gradient.

    >>> trine.train.contrastive_loss({"image": torch.eye(4), "text": torch.eye(4)}, 0.01).item() < 1e-6
    True
    """
    numbers = None if ids is None else torch.as_tensor(ids)
    return _trine.contrastive_loss(
        tensors(embeddings, "embeddings"), temperature, numbers, tensors(present, "present"), _pairs(pairs)
    )


class ContrastiveLoss(Module):
    """`contrastive_loss` as a module, with a temperature that is fixed or learned.

    Learned, the logarithm of its inverse is the parameter `logit_scale`, and the inverse never exceeds 100. ValueError
    for a temperature below 0.01.

    >>> loss = trine.train.ContrastiveLoss(learnable=True)
    >>> [name for name, _ in loss.named_parameters()], round(loss.temperature, 3)
    (['logit_scale'], 0.07)
    """

    _kind = _trine.ContrastiveLoss

    def __init__(
        self,
        temperature: float = 0.07,
        learnable: bool = False,
        pairs: Mapping[tuple[str, str], float] = PAIRS,
    ) -> None:
        super().__init__(_trine.ContrastiveLoss(temperature, learnable, _pairs(pairs)))

    @property
    def temperature(self) -> float:
        """As it is now."""
        return self._module.temperature

    def forward(
        self,
        embeddings: Mapping[str, Tensor],
        ids: Tensor | None = None,
        present: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """{m: (B, D)}, ids (B), {m: (B) bool} -> (); see `contrastive_loss`."""
        numbers = None if ids is None else torch.as_tensor(ids)
        return self._checked().forward(tensors(embeddings, "embeddings"), numbers, tensors(present, "present"))


class ModalityDropout(torch.nn.Module):
    """Drops modalities while training, so that a model learns to do without them.

    Each modality of each sample goes with `probability`, but one always stays, chosen at random: of k modalities a
    sample loses each with the chance p - p**k / k. Dropped is zeros in the features and False in the mask. The draws
    follow from `seed`; after `eval()` nothing is dropped.

    >>> dropout = trine.train.ModalityDropout(0.3, seed=1)
    >>> features, masks = dropout({"image": torch.ones(8, 4, 16), "text": torch.ones(8, 6, 16)})
    >>> fused, gates = trine.fusion.LateFusion(["image", "text"], hidden_dim=16)(features, masks)
    """

    def __init__(self, probability: float, seed: int = 0) -> None:
        super().__init__()
        self._dropout = _trine.ModalityDropout(probability, seed)

    def seed(self, value: int) -> None:
        """Starts the draws anew: what a step drops can depend on its number alone."""
        self._dropout.seed(value)

    def train(self, mode: bool = True) -> ModalityDropout:
        """As for any module; nothing is dropped while it is off."""
        super().train(mode)
        self._dropout.train(mode)
        return self

    def forward(
        self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Features and masks -> those that stay, with a mask for every modality.

        {m: (B, T, D)} with {m: (B, T) bool}, or {m: (B, D)} with {m: (B) bool}, as fusions and `contrastive_loss` take
        them. ValueError for shapes that do not fit, and for a sample without any modality, named by its index.
        """
        return self._dropout.forward(tensors(features, "features"), tensors(masks, "masks"))

    def extra_repr(self) -> str:
        """For `repr`."""
        return f"probability={self._dropout.probability}"


class BalancedSampler(torch.utils.data.Sampler[int]):
    """The order of samples in an epoch in which each group counts the same; a `sampler` of torch's DataLoader.

    `groups` is the group of each sample (N names or numbers), or {modality: (N) bool}, which samples have it: then those
    with the same modalities are a group. `sampling`: "up", every group gets as many draws as the largest has samples;
    "down", as the smallest has. The draws of a group use each of its samples equally often, up to one. Each run of as
    many indices as there are groups holds every group once, so batches are balanced too.

    Iterating gives the indices of the epoch `epoch`, which then counts one up; they depend on the seed and the epoch
    alone.

    >>> sampler = trine.train.BalancedSampler(["a", "a", "a", "b"], seed=1)
    >>> len(sampler), sorted(sampler)
    (6, [0, 1, 2, 3, 3, 3])
    """

    def __init__(
        self, groups: Sequence[Hashable] | Mapping[str, Tensor], sampling: str = "up", seed: int = 0
    ) -> None:
        self._sampler = _trine.BalancedSampler(_numbers(groups), sampling, seed)
        self.epoch = 0

    def indices(self, epoch: int) -> list[int]:
        """The order of an epoch, from 0."""
        return self._sampler.indices(epoch)

    def set_epoch(self, epoch: int) -> None:
        """What is iterated next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter(self.indices(self.epoch - 1))

    def __len__(self) -> int:
        return len(self._sampler)


def _pairs(pairs: Mapping[tuple[str, str], float]) -> list[tuple[str, str, float]]:
    if not isinstance(pairs, Mapping):
        raise TypeError(f"pairs must be a dict like {{('image', 'text'): 1.0}}, not {type(pairs).__name__}.")
    return [(first, second, weight) for (first, second), weight in pairs.items()]


def _numbers(groups: Any) -> list[int]:
    """The number of each sample's group."""
    if isinstance(groups, Mapping):
        return _trine.groups_of({name: torch.as_tensor(present) for name, present in groups.items()})
    places: dict[Hashable, int] = {}
    listed = groups.tolist() if hasattr(groups, "tolist") else groups
    return [places.setdefault(group, len(places)) for group in listed]
