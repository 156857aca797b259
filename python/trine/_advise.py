"""Whether a second or third modality pays."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from . import _trine
from ._module import tensors


def advise(
    features: Mapping[str, torch.Tensor],
    labels: Sequence[Hashable],
    *,
    masks: Mapping[str, torch.Tensor] | None = None,
    ids: Sequence[Hashable] | None = None,
    folds: int = 5,
    seed: int = 1,
    worth: float = 0.01,
    milliseconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Says on a labelled sample whether a second or third modality pays, as `trine advise` does for a manifest.

    Light heads (ridge regression, calibrated) are trained for every subset of the modalities by stratified
    cross-validation; what they get right is compared sample by sample.

    features {modality: (N, D) or (N, T, D)} with masks {modality: (N) or (N, T) bool}, as fusions take them (steps are
    averaged); labels (N). `ids` (N): samples of one id show one thing and stay in one fold. `worth`: the gain in accuracy
    that would be worth a modality. `milliseconds`: of each modality's tower, if known.

    -> a dict: "sentences" in plain words; "subsets" with accuracy, 95 % interval, macro_f1, milliseconds; "comparisons"
    of every subset with each that lacks one of its modalities (gain, 95 % interval by paired bootstrap, McNemar's
    p_value, verdict "pays", "does not pay" or "undecided"); "recommended" modalities; "worst" classes; "missing" shares;
    the "learning" curve and, in "more_data", what the second half of the training data brought.

    ValueError for shapes that do not fit, numbers that are not finite, a sample without a label or a modality, a single
    class, and fewer things than folds.

    >>> image = torch.eye(2).repeat(50, 1) + 0.1 * torch.randn(100, 2)
    >>> advice = trine.train.advise({"image": image, "text": torch.randn(100, 8)}, ["a", "b"] * 50)
    >>> advice["recommended"]
    ['image']
    """
    named = [label if isinstance(label, str) else str(label) for label in labels]
    things = [] if ids is None else [str(thing) for thing in ids]
    costs = {} if milliseconds is None else {name: float(cost) for name, cost in milliseconds.items()}
    return _trine.advise(
        tensors(features, "features"), tensors(masks, "masks"), named, things, folds, seed, worth, costs
    )
