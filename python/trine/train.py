"""What learned fusions and projections are trained with, beside PyTorch's own optimisers.

>>> fusion = trine.fusion.AttentionFusion(["image", "text"], hidden_dim=64)
>>> loss = trine.train.ContrastiveLoss(learnable=True)
>>> optimiser = torch.optim.AdamW([*fusion.parameters(), *loss.parameters()])
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.utils.data
from torch import Tensor

from . import _inputs, _trine
from ._advise import advise
from ._module import Module, tensors
from ._trine import Sample
from .embedder import Embedder

__all__ = [
    "PAIRS",
    "BalancedSampler",
    "ContrastiveLoss",
    "Dataset",
    "FeatureStore",
    "Fit",
    "ModalityDropout",
    "Prediction",
    "Sample",
    "TaskModel",
    "advise",
    "contrastive_loss",
    "fit",
    "read_manifest",
]

Sample.__module__ = __name__  # from the extension, used under this name

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

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_dropout"] = (self._dropout.probability, self._dropout.state)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        probability, draws = state["_dropout"]
        self._dropout = _trine.ModalityDropout(probability, 0)
        self._dropout.state = draws
        self._dropout.train(self.training)


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
        return self._sampler.indices(epoch).tolist()

    def set_epoch(self, epoch: int) -> None:
        """What is iterated next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        parts = self._sampler.indices(self.epoch - 1).split(65_536)  # millions of numbers are no list at once
        return itertools.chain.from_iterable(part.tolist() for part in parts)

    def __len__(self) -> int:
        return len(self._sampler)


class Prediction(NamedTuple):
    """What a `TaskModel` says of a batch."""

    scores: Tensor | None
    """(B, labels): logits (classify) or cosines (rank)."""
    vector: Tensor | None
    """(B, hidden_dim), or of unit length (B, out_dim) (rank)."""
    weights: dict[str, Tensor]
    """{modality: (B)}: what each counts; 0 where it is missing, summing to 1."""
    vectors: dict[str, Tensor]
    """align: {modality: (B, out_dim)}, of unit length."""


class TaskModel(Module):
    """What `fit` trains: a layer norm and a linear layer for each modality, a fusion on these and a head on that.

    `inputs` {modality: D of its features}; `task`: "classify" (a linear layer over the labels), "rank" (cosine to the
    labels' own vectors, of `out_dim` numbers) or "align" (each modality to a unit vector of `out_dim` numbers, without
    a fusion). The arguments from `fusion` on are those of `trine.fusion`. ValueError for those that do not fit.

    >>> model = trine.train.TaskModel("classify", {"image": 384, "text": 384}, ["apple", "pear"]).eval()
    >>> model({"image": torch.randn(3, 1, 384)}).scores.shape
    torch.Size([3, 2])
    """

    _kind = _trine.TaskModel

    def __init__(
        self,
        task: str,
        inputs: Mapping[str, int],
        labels: Sequence[str] = (),
        *,
        out_dim: int = 0,
        fusion: str = "attention",
        hidden_dim: int = 128,
        num_heads: int = 4,
        num_layers: int = 1,
        num_self_layers: int = 1,
        num_cross_layers: int = 1,
        ff_dim: int = 256,
        embedder: str = "",
    ) -> None:
        super().__init__(
            _trine.TaskModel(
                task=task,
                inputs=dict(inputs),
                labels=list(labels),
                out_dim=out_dim,
                fusion=fusion,
                hidden_dim=hidden_dim,
                num_heads=num_heads,
                num_layers=num_layers,
                num_self_layers=num_self_layers,
                num_cross_layers=num_cross_layers,
                ff_dim=ff_dim,
                embedder=embedder,
            )
        )

    @property
    def task(self) -> str:
        """ "classify", "rank" or "align"."""
        return self._module.options["task"]

    @property
    def labels(self) -> list[str]:
        """In the order of the scores."""
        return self._module.options["labels"]

    def forward(self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> Prediction:
        """{m: (B, T, D) or (B, D)}, {m: (B, T) or (B) bool} -> Prediction; see `trine.fusion`."""
        return Prediction(*self._checked().forward(*_steps(features, masks)))

    def extra_repr(self) -> str:
        """For `repr`."""
        options = self._module.options
        return f"task={options['task']!r}, inputs={options['inputs']!r}, labels={len(options['labels'])}"


@dataclasses.dataclass
class Dataset:
    """N samples as tensors, to `fit` with.

    features {modality: (N, T, D) or (N, D) floats}; masks {modality: (N, T) or (N) bool}, False where a sample lacks a
    step, by default all are there; labels, ids: N names or numbers, None where a sample has none; splits: "train", "val"
    or "test" for each, by default all are train.

    >>> data = trine.train.Dataset({"image": torch.randn(4, 8), "text": torch.randn(4, 8)}, labels=["a", "b", "a", "b"])
    """

    features: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] | None = None
    labels: Sequence[Hashable] | None = None
    ids: Sequence[Hashable] | None = None
    splits: Sequence[str] | None = None


def read_manifest(path: _inputs.PathLike) -> list[Sample]:
    """The samples of a JSON-lines file: image, text, audio (any of them; one or a list), label, id, set, split.

    Paths are relative to the file's folder. FileNotFoundError; RuntimeError with the file and the line for what is wrong.

    >>> samples = trine.train.read_manifest("samples.jsonl")     # doctest: +SKIP
    """
    return _trine.read_manifest(_inputs.path(path))


class FeatureStore:
    """Vectors of inputs, kept on disk for all runs: what was embedded once is read from there.

    They are found by the content of a file or text and by the model that made them. `folder`: by default in the cache.

    >>> store = trine.train.FeatureStore(trine.Embedder())       # doctest: +SKIP
    >>> data, skipped = store.load("samples.jsonl")              # doctest: +SKIP
    """

    def __init__(self, embedder: Embedder | None = None, *, folder: _inputs.PathLike | None = None) -> None:
        embedder = Embedder() if embedder is None else embedder
        self._store = _trine.FeatureStore(embedder._model, "" if folder is None else _inputs.path(folder))

    @property
    def folder(self) -> Path:
        """Of this embedder's vectors."""
        return self._store.folder

    @property
    def computed(self) -> int:
        """Inputs that were not on disk, so far."""
        return self._store.computed

    def load(
        self, samples: _inputs.PathLike | Sequence[Sample], *, show_progress_bar: bool = False
    ) -> tuple[Dataset, list[tuple[int, str, str, str]]]:
        """A manifest or its samples -> the dataset, and inputs that cannot be read: (sample, modality, input, why).

        RuntimeError for a sample that has no other input, ValueError for a modality that the embedder lacks.
        """
        progress = _Line("embedding") if show_progress_bar else None
        data, skipped = self._store.load(_samples(samples), progress)
        return Dataset(*data), skipped


@dataclasses.dataclass
class Fit:
    """What `fit` gives back."""

    model: TaskModel
    """Of the best epoch on the validation split, without one of the last; in evaluation mode."""
    history: list[dict[str, float]]
    """Of each epoch: epoch, loss, val_loss, val_top1, learning_rate, seconds; the val ones where there is a val split."""
    best_epoch: int
    stopped_early: bool = False
    skipped: list[tuple[int, str, str, str]] = dataclasses.field(default_factory=list)
    """Inputs that could not be read: (sample, modality, input, why)."""
    embedder: Embedder | None = None
    """With the towers that `tune` named; the model is for its vectors. None: for those of the embedder it was given."""

    def __call__(self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> Prediction:
        """The model's prediction without gradients."""
        with torch.no_grad():
            return self.model(features, masks)

    def plot(self) -> Any:
        """The curves as a matplotlib figure; ImportError without matplotlib."""
        import matplotlib.pyplot

        epochs = [line["epoch"] for line in self.history]
        names = [("loss", "val_loss")] + ([("val_top1",)] if "val_top1" in self.history[0] else [])
        figure, axes = matplotlib.pyplot.subplots(1, len(names), figsize=(6 * len(names), 4), squeeze=False)
        for axis, keys in zip(axes[0], names):
            for key in keys:
                if key in self.history[0]:
                    axis.plot(epochs, [line[key] for line in self.history], label=key)
            axis.axvline(self.best_epoch, color="0.7", linestyle="--", label="kept")
            axis.set_xlabel("epoch")
            axis.legend()
        return figure

    def save(self, directory: _inputs.PathLike) -> None:
        """Writes the model's folder with log.jsonl and a tuned embedder; `load`, `trine evaluate` and C++ read it."""
        self.model.save(directory)
        tuned = _tuned(directory)
        if self.embedder is not None and self.embedder.directory.resolve() != tuned.resolve():
            self.embedder.save(tuned)
        beside = Path(_inputs.path(directory)) / "log.jsonl.new"
        beside.write_text("".join(json.dumps(line) + "\n" for line in self.history))
        beside.replace(beside.with_suffix(""))

    @classmethod
    def load(cls, directory: _inputs.PathLike) -> Fit:
        """What `save`, `fit(folder=...)` or `trine train` wrote."""
        lines = (Path(_inputs.path(directory)) / "log.jsonl").read_text().splitlines()
        history = [json.loads(line) for line in lines]
        best = max(history, key=lambda line: (line.get("val_top1", line["epoch"]), -line.get("val_loss", 0)))
        tuned = _tuned(directory)
        embedder = Embedder(tuned) if tuned.is_dir() else None
        return cls(TaskModel.load(directory).eval(), history, best["epoch"], embedder=embedder)


def fit(
    data: _inputs.PathLike | Sequence[Sample] | Dataset,
    *,
    task: str = "classify",
    fusion: str = "attention",
    embedder: Embedder | None = None,
    features: _inputs.PathLike | None = None,
    hidden_dim: int = 128,
    num_heads: int = 4,
    num_layers: int = 1,
    num_self_layers: int = 1,
    num_cross_layers: int = 1,
    ff_dim: int = 256,
    out_dim: int = 128,
    label_vectors: Tensor | None = None,
    temperature: float = 0.05,
    label_smoothing: float = 0.0,
    epochs: int = 30,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    warmup: float = 0.05,
    max_gradient_norm: float = 1.0,
    modality_dropout: float = 0.1,
    balance: str = "none",
    patience: int = 0,
    seed: int = 0,
    device: str | torch.device | None = None,
    tune: str | Sequence[str] = (),
    tower_learning_rate: float = 2e-5,
    tune_blocks: int = 0,
    tower_batch: int = 16,
    folder: _inputs.PathLike | None = None,
    checkpoint_seconds: float = 20.0,
    show_progress_bar: bool = False,
) -> Fit:
    """Trains a fusion with a head, or projections, on the vectors of encoders, frozen or tuned.

    `data`: a manifest (see `read_manifest`), its samples, or a `Dataset` of your own features. `task`: "classify" the
    labels; "rank" them by the vectors of their texts, or by `label_vectors` (labels, D) in the order of the sorted
    labels; "align" modalities by contrast, with samples of one id as positives. `embedder`, `features`: the model and the
    folder of `FeatureStore`, for manifests. `modality_dropout` and `balance` ("none", "up", "down"): see `ModalityDropout`
    and `BalancedSampler`. `patience`: epochs without a better validation after which to stop, 0: never. `device`: where
    the fusion and the head learn ("cuda", "auto"; as at `Embedder`), by default where the embedder computes, and without
    one the CPU; an embedder that is loaded here computes there too. The model comes back on the CPU.

    `tune` names towers ("image", "text", "audio") that are trained too, at most at `tower_learning_rate`: a copy of the
    embedder, which the result and "embedder" in the `folder` then hold; it needs samples and a folder. `tune_blocks`: only
    so many blocks of a tower, the last, and what follows them; 0: all of it. `tower_batch`: inputs whose activations are
    held; of more they are computed a second time for the gradients.

    With a `folder`, checkpoints, log.jsonl and the model are written there; a run that was killed goes on from there and
    ends in the same weights, bit for bit, and one that had ended is not run again. Everything random follows `seed`;
    torch's own random numbers are left as they are. Ctrl-C ends the training.

    ValueError for options and data that do not fit; RuntimeError for files, for a folder of another training and for a
    device that is not there.

    >>> x = torch.eye(2).repeat(20, 1)
    >>> data = trine.train.Dataset({"text": x}, labels=["a", "b"] * 20, splits=["train"] * 30 + ["val"] * 10)
    >>> trine.train.fit(data, epochs=10, learning_rate=0.02, hidden_dim=16, ff_dim=16).history[-1]["val_top1"]
    1.0
    """
    options = {
        key: value
        for key, value in locals().items()
        if key not in ("data", "embedder", "features", "show_progress_bar", "folder")
    }
    options["folder"] = None if folder is None else _inputs.path(folder)
    options["device"] = None if device is None else str(device)
    options["tune"] = [tune] if isinstance(tune, str) else list(tune)
    progress = _Line("training") if show_progress_bar else None
    if isinstance(data, Dataset):
        steps = _steps(data.features, data.masks)
        names = (_texts(data.labels), _texts(data.ids), list(data.splits or []))
        return _fit_of(_trine.fit(*steps, *names, options, progress))
    embedder = Embedder(device=device or "cpu") if embedder is None else embedder
    store = FeatureStore(embedder, folder=features)
    embedding = _Line("embedding") if show_progress_bar else None
    result, skipped = _trine.fit_samples(store._store, _samples(data), options, progress, embedding)
    tuned = Embedder(_tuned(options["folder"]), device=embedder.device) if options["tune"] else None
    return _fit_of(result, skipped, tuned)


def _fit_of(result: tuple, skipped: Sequence = (), embedder: Embedder | None = None) -> Fit:
    model, history, best_epoch, stopped_early = result
    return Fit(TaskModel._of(model).eval(), history, best_epoch, stopped_early, list(skipped), embedder)


def _tuned(directory: _inputs.PathLike) -> Path:
    """Where a training leaves a tuned embedder."""
    return Path(_inputs.path(directory)) / "embedder"


def _samples(value: _inputs.PathLike | Sequence[Sample]) -> list[Sample]:
    return read_manifest(value) if isinstance(value, (str, os.PathLike)) else list(value)


def _texts(values: Sequence[Hashable] | None) -> list[str]:
    """Labels or ids as texts; None is none."""
    listed = values.tolist() if hasattr(values, "tolist") else values or []
    return ["" if value is None else str(value) for value in listed]


def _steps(features: Any, masks: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Vectors (B, D) as sequences of one step."""
    x, real = tensors(features, "features"), tensors(masks, "masks")
    flat = {name for name, tensor in x.items() if tensor.ndim == 2}
    return (
        {name: tensor.unsqueeze(1) if name in flat else tensor for name, tensor in x.items()},
        {name: tensor.unsqueeze(1) if name in flat and tensor.ndim == 1 else tensor for name, tensor in real.items()},
    )


class _Line:
    """A line on stderr that is rewritten."""

    def __init__(self, title: str) -> None:
        self._title = title

    def __call__(self, done: int, total: int, epoch: int = 0, loss: float = 0, rate: float = 0, top1: Any = None) -> None:
        note = f", epoch {epoch}, loss {loss:.3f}, rate {rate:.5f}" if epoch else ""
        note += "" if top1 is None else f", val top-1 {top1:.3f}"
        print(f"\r{self._title} {done}/{total}{note}   ", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _pairs(pairs: Mapping[tuple[str, str], float]) -> list[tuple[str, str, float]]:
    if not isinstance(pairs, Mapping):
        raise TypeError(f"pairs must be a dict like {{('image', 'text'): 1.0}}, not {type(pairs).__name__}.")
    return [(first, second, weight) for (first, second), weight in pairs.items()]


def _numbers(groups: Any) -> Tensor:
    """The number of each sample's group. -> (N) int64"""
    if isinstance(groups, Mapping):
        return _trine.groups_of({name: torch.as_tensor(present) for name, present in groups.items()})
    whole = groups.dtype.kind in "biu" if isinstance(groups, np.ndarray) else isinstance(groups, Tensor)
    if whole and groups.ndim == 1 and not torch.is_floating_point(numbers := torch.as_tensor(groups)):
        return numbers.to("cpu", torch.int64)
    places: dict[Hashable, int] = {}
    listed = groups.tolist() if hasattr(groups, "tolist") else groups
    return torch.tensor([places.setdefault(group, len(places)) for group in listed], dtype=torch.int64)
