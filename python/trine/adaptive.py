"""Search that computes of a query only what its answer needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import _inputs, _trine, fusion as _fusion
from ._module import tensors
from .product_search import ProductSearch


class AdaptiveInference:
    """Answers a query with the towers it needs, one after the other.

    The first hit of what is computed is the answer as soon as it is likely enough to be right ("simple" with one
    modality, "moderate" with several that agree: the weighted mean of their vectors). Modalities that disagree go the
    "complex" route: their calibrated chances multiplied (or a learned fusion) and more candidates ranked again.

    >>> adaptive = trine.AdaptiveInference()                                    # doctest: +SKIP
    >>> adaptive.fit([{"id": "banana", "image": "photo.jpg", "text": "bananna"}, ...], wanted=0.99)  # doctest: +SKIP
    >>> answer = adaptive.search(image="photo.jpg", text="a ripe one")          # doctest: +SKIP
    >>> answer.route, answer.skipped, answer.hits[0].title                      # doctest: +SKIP
    ('simple', ['image'], 'Banana')

    `search`: the catalogue, by default the default model's. `fusion`: a trained fusion of the modalities "image",
    "text", "audio" (or some of them) and the model's dimension, or the folder of one; it is put into eval mode.
    """

    def __init__(
        self, search: ProductSearch | None = None, *, fusion: _inputs.PathLike | _fusion._Fusion | None = None
    ) -> None:
        self._products = _checked(search)
        if fusion is not None and not isinstance(fusion, _fusion._Fusion):
            fusion = _fusion.load(fusion)
        learned = None if fusion is None else fusion.eval()._checked()
        self._adaptive = _trine.AdaptiveInference(self._products._search, learned)

    @classmethod
    def load(cls, directory: _inputs.PathLike, *, search: ProductSearch | None = None) -> AdaptiveInference:
        """Reads what `save` wrote, here or in C++.

        FileNotFoundError for files that are not there, RuntimeError for those that are damaged or of another model.

        >>> adaptive = trine.AdaptiveInference.load("adaptive")                 # doctest: +SKIP
        """
        self = cls.__new__(cls)
        self._products = _checked(search)
        self._adaptive = _trine.AdaptiveInference.load(self._products._search, _inputs.path(directory))
        return self

    def save(self, directory: _inputs.PathLike) -> None:
        """Writes the fitted thresholds and chances to config.json, and the fusion to the folder `fusion`."""
        self._adaptive.save(_inputs.path(directory))

    def search(
        self,
        *,
        image: _inputs.ImageLike | None = None,
        text: str | None = None,
        audio: _inputs.AudioLike | None = None,
        k: int = 10,
        candidates: int = 20,
        wide_candidates: int = 100,
    ) -> _trine.AdaptiveAnswer:
        """The best `k` products with route, confidence, agreement, and the milliseconds of each stage.

        Inputs are those of `Embedder`; a file is not even opened if its modality is not needed. `candidates` are ranked
        again by agreement, `wide_candidates` in the complex route. ValueError for a query without any modality.

        >>> adaptive.search(text="a ripe banana", audio="question.wav").milliseconds    # doctest: +SKIP
        {'text': 4.1, 'search': 0.6}
        """
        return self._adaptive.search(*_prepared(image, text, audio), k, candidates, wide_candidates)

    def fit(
        self, sample: Iterable[Mapping[str, Any]], *, wanted: float = 0.99, assurance: float = 0.95, seed: int = 1
    ) -> dict[str, Any]:
        """Fits chances, costs, and the cheapest order and thresholds that keep `wanted` of the complex route's answers.

        `sample`: dicts with the `id` of the right product and image, text, audio (any of them), which are embedded here
        and timed; or with `vectors` {modality: (D)} and, if known, their `milliseconds` {modality: ms}. Queries may name
        a `set` (a noise, a speaker): then `wanted` is kept in each, not only on the whole. `assurance`: how sure the sample
        must make of it; one with a set that is too small to show any saving (some 300 queries show 0.99) gives thresholds
        of 1, which save nothing. `seed`: of the mismatched pairs that agreement is fitted on. -> the sample's curve, see
        `curve`.

        ValueError for a sample that is empty, of one product, or with an unknown one, and for vectors that are not
        finite.
        """
        return self._adaptive.fit(self._labelled(sample), wanted, assurance, seed)

    def curve(self, sample: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Quality against cost on a sample: {"points", "always_simple", "always_complex", "chosen", "count"}.

        `points` are the best choices of both thresholds for their cost, cheapest first. A point is a dict of its
        thresholds `confidence` and `agreement`, `right` and `quality` (first hits), `milliseconds` (mean of a query),
        `towers` (the share that is computed) and the shares of the routes.
        """
        return self._adaptive.curve(self._labelled(sample))

    def measure(
        self, sample: Iterable[Mapping[str, Any]], thresholds: Iterable[tuple[float, float]]
    ) -> list[dict[str, float]]:
        """The points of given thresholds (confidence, agreement), see `curve`."""
        return self._adaptive.measure(self._labelled(sample), [tuple(pair) for pair in thresholds])

    @property
    def policy(self) -> dict[str, Any]:
        """Thresholds `confidence` and `agreement`, `order`, milliseconds of `towers` and `searches`, `chances`."""
        return self._adaptive.policy

    @property
    def products(self) -> ProductSearch:
        """The catalogue."""
        return self._products

    def __repr__(self) -> str:
        policy = self.policy
        return (
            f"AdaptiveInference(confidence={policy['confidence']}, agreement={policy['agreement']}, {self._products!r})"
        )

    def _labelled(self, sample: Iterable[Mapping[str, Any]]) -> list[_trine.LabelledQuery]:
        queries = []
        for number, row in enumerate(sample):
            if not isinstance(row, Mapping) or "id" not in row:
                raise ValueError(f"Query {number} of the sample must be a dict with the id of its product.")
            if unknown := set(row) - {"id", "set", "vectors", "milliseconds", *_inputs.MODALITIES}:
                raise ValueError(f"Query {number} of the sample has the key {sorted(map(str, unknown))[0]!r}.")
            product, part = _inputs.text(row["id"], "id"), _inputs.text(row.get("set") or "", "set")
            if "vectors" in row:
                vectors = tensors(row["vectors"], "vectors")
                queries.append(_trine.LabelledQuery(product, vectors, dict(row.get("milliseconds") or {}), part))
            else:
                prepared = _prepared(*(row.get(name) for name in _inputs.MODALITIES))
                queries.append(self._adaptive.embed(product, *prepared))
                queries[-1].set = part.decode()
        return queries


def _checked(search: ProductSearch | None) -> ProductSearch:
    if search is None:
        return ProductSearch()
    if not isinstance(search, ProductSearch):
        raise TypeError(f"search must be a trine.ProductSearch, not {type(search).__name__}.")
    return search


def _prepared(image: Any, text: Any, audio: Any) -> tuple[Any, Any, Any]:
    return (
        None if image is None else _inputs.image(image),
        None if text is None else _inputs.text(text),
        None if audio is None else _inputs.audio(audio),
    )
