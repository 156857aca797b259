"""A photo, words, a spoken question, in any combination, to ranked products with a reason for each."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import _inputs, _trine
from .embedder import Embedder

_KEYS = ("id", "title", "description", "attributes", "keywords", "images")


class ProductSearch:
    """A photo, words, a spoken question, in any combination, to ranked products with a reason for each.

    >>> search = trine.ProductSearch()                                          # doctest: +SKIP
    >>> for hit in search.search(image="photo.jpg", text="a ripe one", k=3):    # doctest: +SKIP
    ...     print(hit.title, round(hit.score, 2), hit.sentence())

    `index`: a file written by `save` or `trine index`; without it the default catalogue. `embedder`: the model that the
    index was made with; without it the default model.
    """

    def __init__(self, index: _inputs.PathLike | None = None, *, embedder: Embedder | None = None) -> None:
        self._embedder = Embedder() if embedder is None else _checked(embedder)
        files = () if index is None else (_inputs.path(index),)
        self._search = _trine.ProductSearch(self._embedder._model, *files)
        self._report: dict[str, Any] | None = None

    @classmethod
    def build(
        cls,
        embedder: Embedder,
        catalogue: _inputs.PathLike | Iterable[Mapping[str, Any] | _trine.Product],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> ProductSearch:
        """Embeds a catalogue: title (in several phrasings), description, keywords and pictures of each product.

        `catalogue` is a file of JSON lines (see `read_catalogue`) or a list of dicts with the same keys: id and title,
        and if wanted description, attributes, keywords, images (paths). `progress(done, total)` is called after each
        product. Pictures that cannot be read are skipped, with a warning; `report` lists them.

        >>> fruit = [{"id": "banana", "title": "Banana", "images": ["banana.jpg"]}]
        >>> search = trine.ProductSearch.build(trine.Embedder(), fruit)         # doctest: +SKIP
        >>> search.save("fruit.trine")                                          # doctest: +SKIP
        """
        if isinstance(catalogue, str) or hasattr(catalogue, "__fspath__"):
            products = _trine.read_catalogue(_inputs.path(catalogue))
        else:
            products = [_product(row, number) for number, row in enumerate(catalogue)]
        if len({product.id for product in products}) != len(products):
            raise ValueError("The ids of a catalogue must differ; there is one that comes twice.")
        self = cls.__new__(cls)
        self._embedder = _checked(embedder)
        self._search, self._report = _trine.ProductSearch.build(embedder._model, products, progress)
        if skipped := self._report["skipped"]:
            path, why = skipped[0]
            warnings.warn(
                f"Pictures that could not be read were skipped: {len(skipped)}, the first {path}: {why}", stacklevel=2
            )
        return self

    def save(self, path: _inputs.PathLike) -> None:
        """Writes the index with its catalogue to one file: beside, synced, renamed."""
        self._search.save(_inputs.path(path))

    def search(
        self,
        *,
        image: _inputs.ImageLike | None = None,
        text: str | None = None,
        audio: _inputs.AudioLike | None = None,
        weights: Mapping[str, float] | None = None,
        k: int = 10,
        rerank: bool = True,
        candidates: int = 20,
    ) -> list[_trine.Hit]:
        """The best `k` products, best first, each a `Hit` with its reasons.

        Inputs are those of `Embedder`. `weights` are by modality, by default 1 for image and text and 0.5 for
        audio; negative: away from it. With `rerank` the best `candidates` are ranked again by how well the
        modalities agree.

        >>> search.search(text="something sour", audio="question.wav", weights={"audio": 1})    # doctest: +SKIP
        [Hit(id='lemon', title='Lemon', score=0.731), ...]
        """
        query = self._embedder.embed_each(image=image, text=text, audio=audio)
        return self._search.search(query, k, candidates, rerank, _inputs.weights(weights))

    def product(self, id: str) -> _trine.Product:
        """The product of an id; ValueError where there is none."""
        return self._search.product(_inputs.text(id, "id"))

    @property
    def embedder(self) -> Embedder:
        """The model."""
        return self._embedder

    @property
    def report(self) -> dict[str, Any] | None:
        """What `build` did: {"products", "vectors", "skipped": [(path, why), ...]}; None for a loaded index."""
        return self._report

    def __len__(self) -> int:
        return len(self._search)

    def __repr__(self) -> str:
        return f"ProductSearch({len(self)} products, {self._embedder!r})"


def _checked(embedder: Embedder) -> Embedder:
    if not isinstance(embedder, Embedder):
        raise TypeError(f"embedder must be a trine.Embedder, not {type(embedder).__name__}.")
    return embedder


def _product(row: Mapping[str, Any] | _trine.Product, number: int) -> _trine.Product:
    if isinstance(row, _trine.Product):
        return row
    if not isinstance(row, Mapping):
        raise TypeError(f"Product {number} must be a dict, not {type(row).__name__}.")
    if unknown := set(row) - set(_KEYS):
        raise ValueError(f"Product {number} has the key {unknown.pop()!r}: wanted {', '.join(_KEYS)}.")
    try:
        if not row["id"] or not row["title"]:
            raise ValueError("id and title must not be empty")
        return _trine.Product(
            _inputs.text(row["id"], "id"),
            _inputs.text(row["title"], "title"),
            _inputs.text(row.get("description") or "", "description"),
            [(_inputs.text(k, "name"), json.dumps(v)) for k, v in (row.get("attributes") or {}).items()],
            [_inputs.text(k, "keyword") for k in row.get("keywords") or []],
            [_inputs.path(p) for p in row.get("images") or []],
        )
    except KeyError as error:
        raise ValueError(f"Product {number} has no {error.args[0]}.") from None
    except (TypeError, ValueError, AttributeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"Product {number}: {error}") from None
