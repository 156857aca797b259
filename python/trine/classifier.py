"""Labels with scores for texts, pictures or clips, from a checkpoint that has a head for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import _hub, _inputs, _trine
from .embedder import Description, _Bar, _check_batch_size, _named, _warn_if_cut

if TYPE_CHECKING:
    from .verify import Report


class Classifier:
    """Labels with scores, from a directory of transformers with a head for them.

    >>> model = trine.Classifier("SamLowe/roberta-base-go_emotions")    # doctest: +SKIP
    >>> scores = model.predict("what a day!")                           # doctest: +SKIP
    >>> max(scores, key=scores.get)                                     # doctest: +SKIP
    'excitement'
    >>> trine.Classifier("superb/wav2vec2-base-superb-er").predict("question.wav")      # doctest: +SKIP
    {'neu': 0.71, 'hap': 0.19, 'ang': 0.06, 'sad': 0.04}

    `model`: a directory, or "org/name" on the Hugging Face Hub, at `revision`, with `local_files_only` from its cache
    alone:

    - of texts, `...ForSequenceClassification` of BERT, RoBERTa, XLM-RoBERTa, MPNet, DistilBERT and ModernBERT;
    - of pictures, `...ForImageClassification` of ViT and DINOv2, with registers too;
    - of clips, `...ForSequenceClassification` of wav2vec 2.0, HuBERT and WavLM, and `ASTForAudioClassification`.

    Scores are those of transformers' pipelines: shares that sum to 1 (`function` "softmax"), each label on its own in 0
    to 1 ("sigmoid": a `problem_type` of several labels, or a single label), or the network's output as it is ("none":
    regression). They do not depend on the batch or the number of threads. `precision`, `accuracy` and
    `device` as at `Embedder`.
    """

    def __init__(
        self,
        model: _inputs.PathLike,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        precision: str = "fp32",
        accuracy: float = 0.999,
        device: str | torch.device = "cpu",
    ) -> None:
        directory = _hub.locate(_inputs.path(model), revision=revision, local_files_only=local_files_only)
        self._model = _trine.Classifier.load(directory, precision, accuracy, str(device))

    def predict(self, inputs: Any, *, batch_size: int = 32, show_progress_bar: bool = False) -> Any:
        """An input -> {label: score}, a list of them -> a list of these; labels in the order of their ids.

        What an input may be depends on `modality` and is said at `Embedder`: a str is a text for a classifier of texts,
        and a path for one of pictures or clips. Samples keep their rate until the network's own is made of it. A text
        that is longer than `max_tokens` is cut there, with a warning; a clip is taken whole, and refused (ValueError)
        where it is too short or too long for the network.

        >>> model.predict(["what a day!", "leave me alone"])            # doctest: +SKIP
        [{'admiration': 0.04, ...}, {'admiration': 0.0, ...}]
        """
        _check_batch_size(batch_size)
        items, single = _inputs.split(inputs)
        bar = _Bar(len(items), show_progress_bar, "classified")
        found, coverage = [], {}
        for start in range(0, len(items), batch_size):
            batch = range(start, min(start + batch_size, len(items)))
            given = [_named(i, len(items), self._converted, items[i]) for i in batch]
            scores = getattr(self._model, f"{self.modality}_scores")(given)
            found += [dict(zip(self.labels, row)) for row in scores.tolist()]
            if self.modality == "text":
                for i, text in zip(batch, given):
                    total = self._model.count_tokens(text)
                    coverage[i] = {"total": total, "used": min(total, self.max_tokens)}
            bar.advance(len(batch))
        _warn_if_cut(coverage)
        return found[0] if single else found

    def _converted(self, value: Any) -> Any:
        return _inputs.audio(value, 0) if self.modality == "audio" else getattr(_inputs, self.modality)(value)

    @property
    def modality(self) -> str:
        """What it takes: "text", "image" or "audio"."""
        return self._model.modality

    @property
    def labels(self) -> list[str]:
        """In the order of their ids; a name that comes again has its id behind it, "crane (517)"."""
        return self._model.labels

    @property
    def function(self) -> str:
        """What makes scores of the network's outputs: "softmax", "sigmoid" or "none"."""
        return self._model.function

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that are used, special tokens included. ValueError for a classifier of something else."""
        return self._model.max_tokens

    @property
    def directory(self) -> Path:
        """Where the model was loaded from."""
        return self._model.directory

    def describe(self) -> Description:
        """What happens to an input on its way to scores; print it to read it."""
        return Description(self._model.describe())

    def verify(self, *, against: _inputs.PathLike | None = None, golden: bool = False) -> Report:
        """Compares every stage with the reference implementation, see `trine.verify.verify`; print it to read the table.

        >>> model.verify().passed                                           # doctest: +SKIP
        True
        """
        from .verify import verify

        return verify(self.directory, against=against, golden=golden)

    def __repr__(self) -> str:
        return (
            f"Classifier({str(self.directory)!r}, modality={self.modality!r}, labels={len(self.labels)}, "
            f"function={self.function!r})"
        )
