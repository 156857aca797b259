"""How vectors meet: an index, combined queries, ranking by agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

import numpy as np
import torch

from . import _inputs, _trine


class Match(NamedTuple):
    """One result of `Index.search`."""

    id: str
    score: float
    """Inner product with the query; the cosine for unit vectors."""


class RerankScore(NamedTuple):
    """What a candidate's score is made of, see `rerank_score`."""

    score: float
    consistency: float
    """Geometric mean of the supports."""
    disagreement: float
    """Largest support minus smallest."""


class Index:
    """Vectors of `dim` values by id, searched by inner product: exactly, or along a graph.

    >>> index = trine.Index(3)
    >>> index.add(["x", "y"], np.eye(3)[:2])
    >>> index.search([1, 0.5, 0], k=1)
    [Match(id='x', score=1.0)]
    >>> index.save("products.trine")                            # doctest: +SKIP

    `precision`: how the values are kept that a search reads, "fp32", "fp16" or "int8" (4, 2 or 1 byte). `rescore`: a
    second, more exact form that scores what the first has found; "fp16" with "fp32" finds what "fp32" finds.

    Scores do not depend on the order of insertion, the other queries or the number of threads, and without a graph
    neither does what is found; ties are broken by id. Vectors are arrays, tensors or lists of finite numbers. Python
    threads may share an index.
    """

    def __init__(self, dim: int, *, precision: str = "fp32", rescore: str | None = None) -> None:
        self._index = _trine.Index(dim, precision, rescore)

    @classmethod
    def load(cls, path: _inputs.PathLike, *, mapped: bool = False) -> Index:
        """Reads what `save` wrote. RuntimeError for a file that is cut, changed in any byte, or not an index.

        `mapped`: the vectors stay in the file, once in memory for all processes that map it. The file is checked and
        must not be changed in place afterwards (`save` never does). A change of the index copies them first.

        >>> index = trine.Index.load("products.trine")          # doctest: +SKIP
        """
        self = cls.__new__(cls)
        self._index = _trine.Index.load(_inputs.path(path), mapped)
        return self

    def save(self, path: _inputs.PathLike) -> None:
        """Writes one file: beside, synced, renamed, so that a file is whole or not there."""
        self._index.save(_inputs.path(path))

    @property
    def dim(self) -> int:
        """Values of a vector."""
        return self._index.dim

    @property
    def precision(self) -> str:
        """Of what a search reads."""
        return self._index.precision

    @property
    def rescore(self) -> str | None:
        """The form that scores what has been found, if there is a second one."""
        return self._index.rescore

    def add(self, id: str | Iterable[str], vector: Any) -> None:
        """Adds a vector (dim) under a new id, or many (N, dim) under a list of ids: all of them or none."""
        if isinstance(id, str):
            return self._index.add([_id(id)], self._vectors(vector, 1))
        ids = [_id(i) for i in id]
        self._index.add(ids, self._vectors(vector, 2, len(ids)))

    def update(self, id: str, vector: Any) -> None:
        """Replaces the vector (dim) of an id that is there."""
        self._index.update(_id(id), self._vectors(vector, 1))

    def remove(self, id: str) -> None:
        """Removes an id that is there."""
        self._index.remove(_id(id))

    def contains(self, id: str) -> bool:
        """Whether the id is there; also `id in index`."""
        return self._index.contains(_id(id))

    def vector(self, id: str) -> np.ndarray:
        """The vector of an id that is there, float32 (dim)."""
        return self._index.vector(_id(id))

    def ids(self) -> list[str]:
        """All ids, sorted; also `iter(index)`."""
        return self._index.ids()

    def search(
        self,
        query: Any,
        k: int = 10,
        *,
        ids: Iterable[str] | None = None,
        keep: Callable[[str], bool] | None = None,
        ef: int | None = None,
        exact: bool = False,
        threads: int | None = None,
    ) -> list[Match] | list[list[Match]]:
        """The best `k` by score, best first, for a query (dim); a list of such lists for queries (N, dim).

        `ids`: the only ones that may be found. `keep`: a function of an id that says whether it may be found. `ef`: the
        breadth of a walk over the graph, more finds more (64, at least k). `exact`: a scan also where there is a graph.
        `threads`: as many as there are processors and the work is worth.

        >>> index.search(query, k=5, keep=lambda id: id.startswith("fruit/"))   # doctest: +SKIP
        """
        allowed = None if ids is None else {_id(i) for i in ids}
        if keep is not None:
            candidates = self.ids() if ids is None else [i.decode() for i in allowed]
            allowed = {_id(i) for i in candidates if keep(i)}
        queries = _inputs.vector(query, "query")
        return self._index.search(queries, k, allowed, ef or 0, exact, threads or 0, Match)

    def build_graph(self, *, m: int = 16, ef_construction: int = 200, threads: int | None = None) -> None:
        """Links neighbouring vectors (HNSW), so that a search looks at a small part of them and finds most of the best.

        For vectors of about equal length. `m`: links of a vector; `ef_construction`: candidates among which they are
        chosen. Later additions, updates and removals keep the graph up to date; `save` writes it.

        >>> index.build_graph()                                 # doctest: +SKIP
        >>> index.search(query, ef=100)                         # doctest: +SKIP
        """
        self._index.build_graph(m, ef_construction, threads or 0)

    def drop_graph(self) -> None:
        """Searches are exact again."""
        self._index.drop_graph()

    @property
    def has_graph(self) -> bool:
        """Whether there is a graph to search along."""
        return self._index.has_graph

    @property
    def metadata(self) -> MutableMapping[str, str]:
        """Texts by name that travel with the index and are covered by its checksums.

        >>> index.metadata["model"] = "all-MiniLM-L6-v2"        # doctest: +SKIP
        """
        return _Metadata(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids())

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.contains(id)

    def __repr__(self) -> str:
        return f"Index(dim={self.dim}, size={len(self)})"

    def _vectors(self, value: Any, ndim: int, count: int = 1) -> np.ndarray:
        vectors = _inputs.vector(value)
        shape = (self.dim,) if ndim == 1 else (count, self.dim)
        if vectors.shape != shape:
            raise ValueError(f"Wanted the shape {shape}, got {vectors.shape}.")
        return vectors


class _Metadata(MutableMapping):
    """The texts of an index, live."""

    def __init__(self, index: _trine.Index) -> None:
        self._index = index

    def __getitem__(self, key: str) -> str:
        return self._index.metadata()[key]

    def __setitem__(self, key: str, value: str) -> None:
        self._index.set_metadata(_inputs.text(key, "name"), _inputs.text(value, "value"))

    def __delitem__(self, key: str) -> None:
        self[key]  # KeyError if it is not there
        self._index.set_metadata(key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index.metadata())

    def __len__(self) -> int:
        return len(self._index.metadata())

    def __repr__(self) -> str:
        return repr(self._index.metadata())


def combine_query(vectors: Mapping[str, Any], weights: Mapping[str, float] | None = None) -> torch.Tensor:
    """The weighted mean of unit vectors, of unit length again. {modality: (D) or (B, D)} -> (D) or (B, D)

    `weights` are by modality, by default 1 for image and text and 0.5 for audio; negative: away from it.

    >>> trine.combine_query({"image": torch.tensor([1.0, 0]), "text": torch.tensor([0, 1.0])})
    tensor([0.7071, 0.7071])
    """
    tensors = {name: torch.from_numpy(_inputs.vector(v).copy()) for name, v in vectors.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"The vector of the {name} must be finite.")
    return _trine.combine_query(tensors, _inputs.weights(weights))


def rerank_score(similarity: float, support: Mapping[str, float]) -> RerankScore:
    """similarity * (1 + consistency) * (1 - disagreement / 2), just the similarity with fewer than two modalities.

    `support`: each modality's calibrated support for the candidate, in [0, 1].

    >>> trine.rerank_score(0.5, {"image": 1.0, "text": 1.0})
    RerankScore(score=1.0, consistency=1.0, disagreement=0.0)
    """
    return RerankScore(*_trine.rerank_score(similarity, dict(support)))


def _id(value: str) -> bytes:
    return _inputs.text(value, "id")
