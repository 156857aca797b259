"""A photo, words, a spoken question, in any combination, to ranked products with a reason for each."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Union

from . import _inputs, _trine
from .embedder import Embedder

Catalogue = Union[_inputs.PathLike, Iterable[Union[Mapping[str, Any], _trine.Product]]]

_KEYS = ("id", "title", "description", "attributes", "keywords", "image", "images", "audio", "video", "videos")



class SearchResult(list):
    """The hits of a search, best first: a list of `Hit` that also says how sure it is.

    >>> found = search.search(text="a ripe banana")                             # doctest: +SKIP
    >>> found[0].title, found.confidence, found.nothing_matches                 # doctest: +SKIP
    ('Banana', 0.97, False)

    confidence: the chance that the first hit is the right product. nothing_matches: the catalogue seems to lack what was
    asked for; the hits are the nearest it has. heard: what was said in each clip of the query, where it was transcribed.
    """

    def __init__(
        self, hits: Iterable[_trine.Hit], confidence: float, nothing_matches: bool, heard: Iterable[str] = ()
    ) -> None:
        super().__init__(hits)
        self.confidence = confidence
        self.nothing_matches = nothing_matches
        self.heard = list(heard)

    def to_dict(self) -> dict[str, Any]:
        """All of it as a dict that json.dumps takes."""
        return {
            "confidence": self.confidence,
            "nothing_matches": self.nothing_matches,
            "heard": self.heard,
            "hits": [hit.to_dict() for hit in self],
        }


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
        catalogue: Catalogue,
        *,
        progress: Callable[[int, int], None] | None = None,
        partial: _inputs.PathLike | None = None,
        draft: bool = False,
    ) -> ProductSearch:
        """Embeds a catalogue: title (in several phrasings), description, keywords, pictures and clips of each product.

        `catalogue` is a file (see `read_catalogue`) or a list of dicts with the same keys: id and title, and if wanted
        description, keywords, images, audio and videos (paths), attributes; any other key is an attribute.
        `progress(done, total)` is called after each product. Pictures and clips that cannot be read are skipped, with a
        warning; `report` lists them. `partial` is a file that what is done goes into from time to time: work that was
        killed goes on from there. `draft`: pictures as `Embedder.embed_image(draft=True)` takes them; the index remembers it,
        and `add` and `update` embed as it was made.

        >>> fruit = [{"id": "banana", "title": "Banana", "price": 0.99, "images": ["banana.jpg"]}]
        >>> search = trine.ProductSearch.build(trine.Embedder(), fruit)         # doctest: +SKIP
        >>> search.save("fruit.trine")                                          # doctest: +SKIP
        """
        self = cls.__new__(cls)
        self._embedder = _checked(embedder)
        self._search, self._report = _trine.ProductSearch.build(
            embedder._model, _products(catalogue), progress, _partial(partial), bool(draft)
        )
        self._warn()
        return self

    def add(
        self,
        products: Catalogue,
        *,
        progress: Callable[[int, int], None] | None = None,
        partial: _inputs.PathLike | None = None,
    ) -> dict[str, Any]:
        """Adds products that are not there yet, and returns what `report` then says.

        >>> search.add([{"id": "lemon", "title": "Lemon"}])["embedded"]        # doctest: +SKIP
        1
        """
        self._report = self._search.add(_products(products), progress, _partial(partial))
        self._warn()
        return self._report

    def update(
        self,
        products: Catalogue,
        *,
        progress: Callable[[int, int], None] | None = None,
        partial: _inputs.PathLike | None = None,
    ) -> dict[str, Any]:
        """Adds new products and replaces those of the same id.

        Only new ones and those are embedded whose texts, pictures or clips have changed.

        >>> search.update("catalogue.jsonl")                                    # doctest: +SKIP
        {'products': 81, 'vectors': 648, 'embedded': 2, 'skipped': []}
        """
        self._report = self._search.update(_products(products), progress, _partial(partial))
        self._warn()
        return self._report

    def remove(self, ids: str | Iterable[str]) -> None:
        """Removes products by their ids; ValueError where one is not there, and nothing is removed.

        >>> search.remove(["lemon"])                                            # doctest: +SKIP
        """
        self._search.remove([_inputs.text(id, "id") for id in ([ids] if isinstance(ids, str) else ids)])

    def build_graph(self, *, m: int = 16, ef_construction: int = 200, threads: int = 0) -> None:
        """Links neighbouring vectors (see `Index.build_graph`), so that a search looks at the products near the query only.

        For catalogues of hundreds of thousands of vectors. What `add`, `update` and `remove` change the graph follows, and
        `save` writes it.

        >>> search.build_graph()                                                # doctest: +SKIP
        >>> search.search(text="oat milk", ef=400)                              # doctest: +SKIP
        """
        self._search.build_graph(m, ef_construction, threads)

    def drop_graph(self) -> None:
        """Lets go of the graph: from then on all products are looked at."""
        self._search.drop_graph()

    @property
    def graph(self) -> dict[str, int] | None:
        """What the graph was built with, {"m", "ef_construction"}; None where there is none."""
        return self._search.graph

    def save(self, path: _inputs.PathLike) -> None:
        """Writes the index with its catalogue to one file: beside, synced, renamed."""
        self._search.save(_inputs.path(path))

    def search(
        self,
        *,
        image: _inputs.ImageLike | list[_inputs.ImageLike] | None = None,
        text: str | list[str] | None = None,
        audio: _inputs.AudioLike | list[_inputs.AudioLike] | None = None,
        weights: Mapping[str, float] | None = None,
        filter: str | None = None,
        without: str | list[str] | None = None,
        k: int = 10,
        rerank: bool = True,
        candidates: int = 20,
        mixing: str = "fitted",
        calibrate: bool = True,
        hearing: bool = True,
        ef: int = 0,
        exact: bool = False,
    ) -> SearchResult:
        """The best `k` products, best first, each a `Hit` with its reasons.

        Inputs are those of `Embedder`; several of a modality count as their mean. `weights` are by modality, by default
        1 for image and text and 0.5 for audio; negative: away from it. `filter` is a condition on attributes, see
        `Filter`. `without`: texts of what hits shall not be. With `rerank` the best `candidates` are ranked again by how
        well the modalities agree. `mixing`: "early", the modalities' vectors are combined, "late", their scores, or
        "fitted", what the model's calibration found better; `calibrate` makes the weights mean the same whatever the
        model and the catalogue. With `hearing` clips are also transcribed where the model can (see `Hearing`), and the
        result's `heard` quotes them; False: by the speech tower alone, which is faster. Where there is a graph, `ef` is the
        breadth of the walk along it (0: 200), supports are among the products that it finds, and `exact` looks at all.

        >>> search.search(text="something sour", audio="question.wav", weights={"audio": 1})    # doctest: +SKIP
        [Hit(id='lemon', title='Lemon', score=0.731), ...]
        >>> search.search(image="milk.jpg", without="dairy", filter="price < 3")                # doctest: +SKIP
        """
        found = self._search.search(
            [_inputs.image(value) for value in _several(image)],
            [_inputs.text(value) for value in _several(text)],
            [_inputs.audio(value) for value in _several(audio)],
            k,
            candidates,
            rerank,
            _inputs.weights(weights),
            _inputs.text(filter or "", "filter"),
            [_inputs.text(value) for value in _several(without)],
            _inputs.choice(mixing, "mixing", ("fitted", "early", "late")),
            calibrate,
            hearing,
            ef,
            exact,
        )
        return SearchResult(*found)

    @property
    def products(self) -> list[_trine.Product]:
        """All of them, in the order of the catalogue."""
        return self._search.products()

    def product(self, id: str) -> _trine.Product:
        """The product of an id; ValueError where there is none."""
        return self._search.product(_inputs.text(id, "id"))

    @property
    def embedder(self) -> Embedder:
        """The model."""
        return self._embedder

    @property
    def report(self) -> dict[str, Any] | None:
        """What `build`, `add` or `update` did last; None for an index that was loaded.

        {"products", "vectors" (of the index), "embedded" (products that were), "skipped": [{"product", "file", "why"}]}
        """
        return self._report

    def _warn(self) -> None:
        if skipped := self._report["skipped"]:
            first = skipped[0]
            warnings.warn(
                f"What could not be read was skipped: {len(skipped)}, the first {first['file']}: {first['why']}",
                stacklevel=3,
            )

    def __len__(self) -> int:
        return len(self._search)

    def __repr__(self) -> str:
        return f"ProductSearch({len(self)} products, {self._embedder!r})"


def describe_index(path: _inputs.PathLike) -> dict[str, Any]:
    """What an index file of `ProductSearch` or `Index` holds; no model is needed.

    Its bytes, records, dimensions, precision, rescore, graph, metadata (bytes of each entry), model and fingerprint, and
    of a catalogue the products and how many vectors show a title, keyword, picture ...

    >>> trine.describe_index("products.trine")["graph"]                        # doctest: +SKIP
    {'m': 16, 'ef_construction': 200}
    """
    return _trine.describe_index(_inputs.path(path))


def _checked(embedder: Embedder) -> Embedder:
    if not isinstance(embedder, Embedder):
        raise TypeError(f"embedder must be a trine.Embedder, not {type(embedder).__name__}.")
    return embedder


def _several(value: Any) -> list[Any]:
    return [] if value is None else _inputs.split(value)[0]


def _partial(path: _inputs.PathLike | None) -> str:
    return "" if path is None else _inputs.path(path)


def _products(catalogue: Catalogue) -> list[_trine.Product]:
    if isinstance(catalogue, str) or hasattr(catalogue, "__fspath__"):
        return _trine.read_catalogue(_inputs.path(catalogue))
    return [_product(row, number) for number, row in enumerate(catalogue)]


def _product(row: Mapping[str, Any] | _trine.Product, number: int) -> _trine.Product:
    if isinstance(row, _trine.Product):
        return row
    if not isinstance(row, Mapping):
        raise TypeError(f"Product {number} must be a dict, not {type(row).__name__}.")
    try:
        if not row["id"] or not row["title"]:
            raise ValueError("id and title must not be empty")
        others = {key: value for key, value in row.items() if key not in _KEYS}
        attributes = {**others, **(row.get("attributes") or {})}
        if twice := set(others) & set(row.get("attributes") or {}):
            raise ValueError(f"the attribute {twice.pop()!r} is there twice")
        return _trine.Product(
            _inputs.text(row["id"], "id"),
            _inputs.text(row["title"], "title"),
            _inputs.text(row.get("description") or "", "description"),
            [(_inputs.text(k, "name"), json.dumps(v, allow_nan=False)) for k, v in attributes.items()],
            [_inputs.text(k, "keyword") for k in _list(row, "keywords")],
            [_inputs.path(p) for p in (*_list(row, "image"), *_list(row, "images"))],
            [_inputs.path(p) for p in _list(row, "audio")],
            [_inputs.path(p) for p in (*_list(row, "video"), *_list(row, "videos"))],
        )
    except KeyError as error:
        raise ValueError(f"Product {number} has no {error.args[0]}.") from None
    except (TypeError, ValueError, AttributeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"Product {number}: {error}") from None


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row.get(key)
    return [] if value is None else [value] if isinstance(value, str) or hasattr(value, "__fspath__") else list(value)
