"""Intents by examples: what a text is meant to bring about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from . import _inputs, _trine
from .embedder import Description, Embedder


class IntentClassifier:
    """Intents by examples: a linear head on the vectors of a text encoder, fitted in seconds.

    >>> intents = trine.IntentClassifier()                                          # doctest: +SKIP
    >>> intents.understand("the milk carton leaked over everything")                # doctest: +SKIP
    Intent('damaged', 0.893, in_scope=True)

    `examples`: a JSON file {intent: [sentences]}, or a dict of the same; without it intents.json of the model, a help
    desk's. 15 sentences for an intent are a good beginning, 2 the least; those under "out_of_scope" belong to none.
    `embedder`: by default the default model. `kept`: share of held-out examples that the threshold leaves in scope;
    `folds`: of the cross-validation. Fitting is deterministic.

    >>> mine = trine.IntentClassifier({"greet": ["hello", "hi there"], "part": ["goodbye", "see you"]})    # doctest: +SKIP
    >>> mine.understand("good evening").label                                       # doctest: +SKIP
    'greet'
    """

    def __init__(
        self,
        examples: _inputs.PathLike | Mapping[str, Iterable[str]] | None = None,
        *,
        embedder: Embedder | None = None,
        folds: int | None = None,
        kept: float | None = None,
    ) -> None:
        model = (Embedder() if embedder is None else embedder)._model
        if isinstance(examples, Mapping):
            given = {
                _inputs.text(label, "label"): [_inputs.text(sentence, f"sentence of {label!r}") for sentence in sentences]
                for label, sentences in examples.items()
            }
            self._model = _trine.IntentClassifier.fit(model, given, 5 if folds is None else folds, 0.97 if kept is None else kept)
            return
        if folds is not None or kept is not None:
            raise ValueError("folds and kept go with examples in a dict; those of a file are fitted with the defaults.")
        self._model = _trine.IntentClassifier.load(model, "" if examples is None else _inputs.path(examples))

    def understand(self, text: str | list[str] | torch.Tensor) -> Any:
        """A text -> Intent, a list of texts -> a list of these; a vector (D) of the shared space does as well.

        `scores` are of every intent, each with `label` and `probability`, likeliest first; `label` is that of the first; `in_scope` says whether the text
        is about any of the intents. ValueError for a vector of another size or with values that are not finite.
        """
        if isinstance(text, torch.Tensor):
            return self._model.understand_vector(text)
        texts, single = ([text], True) if isinstance(text, str) else (list(text), False)
        found = self._model.understand_texts([_inputs.text(t) for t in texts])
        return found[0] if single else found

    @property
    def labels(self) -> list[str]:
        """The intents, sorted."""
        return self._model.labels

    def describe(self) -> Description:
        """Examples, strength, temperature, accuracy in cross-validation, threshold; print it to read it."""
        return Description(self._model.describe())

    def __repr__(self) -> str:
        return f"IntentClassifier({len(self.labels)} intents)"
