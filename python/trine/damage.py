"""Damage in photos: how probable, of what kind, how bad."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import _inputs, _trine
from .embedder import Description, Embedder


class DamageDetector:
    """Damage in a photo: how probable, of what kind, how bad.

    >>> detector = trine.DamageDetector()                                   # doctest: +SKIP
    >>> damage = detector.inspect("claim.jpg")                              # doctest: +SKIP
    >>> damage, damage.trained_on                                           # doctest: +SKIP
    (Damage(0.931, stain, moderate), 'synthetic damage on photos of groceries')

    The head of the default model knows **synthetic damage** only: tears, dents, stains, mould and crushed corners that a
    program drew onto photos of groceries. For real claims `fit` one on photos of your own. `head`: a file that `save`
    wrote; `embedder`: by default the default model, whose image encoder must be an EfficientNet-Lite.
    """

    def __init__(self, head: _inputs.PathLike | None = None, *, embedder: Embedder | None = None) -> None:
        self._model = _trine.DamageDetector.load(_model_of(embedder), "" if head is None else _inputs.path(head))

    @classmethod
    def fit(
        cls,
        photos: Iterable[_inputs.ImageLike],
        labels: Iterable[str | tuple[str, float | None]],
        *,
        embedder: Embedder | None = None,
        epochs: int = 30,
        seed: int = 1,
        trained_on: str = "photos of your own",
        progress: Callable[[int, int], None] | None = None,
    ) -> DamageDetector:
        """A detector for your own photos. A label is "intact" or a kind of damage by any name, or (kind, severity 0 to 1).

        Two photos of each at least, hundreds are better. `progress(done, total)` is called with the photos looked at, then
        with the training steps.

        >>> detector = trine.DamageDetector.fit(photos, ["intact", ("scratch", 0.3), ...])     # doctest: +SKIP
        >>> detector.save("scratches.safetensors")                                             # doctest: +SKIP
        """
        self = cls.__new__(cls)
        self._model = _trine.DamageDetector.fit(
            _model_of(embedder),
            [_inputs.image(photo) for photo in photos],
            [_label(label, number) for number, label in enumerate(labels)],
            epochs,
            seed,
            _inputs.text(trained_on, "trained_on"),
            progress,
        )
        return self

    def inspect(self, photo: _inputs.ImageLike) -> _trine.Damage:
        """What a photo shows of damage; above a probability of 0.7 its types and its severity too."""
        return self._model.inspect(_inputs.image(photo))

    def save(self, path: _inputs.PathLike) -> None:
        """Writes the head, a safetensors file: `DamageDetector(path)` reads it."""
        self._model.save(_inputs.path(path))

    @property
    def types(self) -> list[str]:
        """The kinds of damage it knows, sorted."""
        return self._model.types

    def describe(self) -> Description:
        """What it was trained on, and what happens to a photo; print it to read it."""
        return Description(self._model.describe())

    def __repr__(self) -> str:
        return f"DamageDetector({', '.join(self.types)})"


def _model_of(embedder: Embedder | None) -> _trine.Embedder:
    return (Embedder() if embedder is None else embedder)._model


def _label(label: Any, number: int) -> tuple[bytes, float | None]:
    kind, severity = (label, None) if isinstance(label, str) else label
    return _inputs.text(kind, f"label of photo {number}"), None if severity is None else float(severity)
