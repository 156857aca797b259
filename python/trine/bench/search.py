"""Vector search, exact and along a graph, beside faiss, usearch and hnswlib.

Vectors are unit vectors around themes, themselves around topics, with a spectrum that falls off like that of text
embeddings; the queries are fresh draws. With sentences of the user they are those, embedded by all-MiniLM-L6-v2.
"""

from __future__ import annotations

import statistics
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..embedder import Embedder
from ..search import Index
from . import inputs
from .race import Bar, Race, ratio, spread
from .report import Report

K = 10
CONSTRUCTION, M = 200, 16  # of graphs
# Bytes of the vectors that a scan reads, for each byte of fp32.
READ = {"trine fp16 + fp32": 1 / 2, "trine fp16": 1 / 2, "trine int8 + fp32": 1 / 4, "trine int8 + fp16": 1 / 4,
        "trine int8": 1 / 4}  # fmt: skip


def data(options: Namespace) -> tuple[np.ndarray, np.ndarray, str]:
    """Vectors, queries, and what they are."""
    if options.sentences:
        lines = inputs.read_sentences(options.sentences, options.count)
        vectors = Embedder("all-MiniLM-L6-v2").embed_text(lines, convert_to_numpy=True).astype(np.float32)
        order, held = np.random.default_rng(0).permutation(len(vectors)), max(1, min(512, len(vectors) // 5))
        return vectors[order[held:]], vectors[order[:held]], f"sentences of {options.sentences.name}"
    draw, dim = np.random.default_rng(0), options.dim
    spectrum = (1 + np.arange(dim, dtype=np.float32)) ** -0.5

    def around(centres: np.ndarray, count: int, distance: float) -> np.ndarray:
        noise = draw.standard_normal((count, dim), dtype=np.float32) * spectrum
        picked = centres[draw.integers(len(centres), size=count)]
        return _unit(picked + distance * _unit(noise))

    topics = around(np.zeros((1, dim), np.float32), 200, 1)
    themes = around(topics, 4000, 0.8)
    made = around(themes, options.count + 512, 0.7)
    return made[512:], made[:512], "a mixture of 4000 themes in 200 topics"


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def measure(report: Report, race: Race, options: Namespace, works: Sequence[str]) -> None:
    vectors, queries, what = data(options)
    torch.set_num_threads(race.threads)
    if "faiss" in options.peers:
        import faiss

        faiss.omp_set_num_threads(race.threads)
    what = f"{len(vectors):,} x {vectors.shape[1]}, {what}, top {K}"
    truth = _top(vectors, queries)
    if "exact" in works:
        _exact(report, race, options, vectors, queries, truth, what)
    if "graphs" in works:
        _graphs(report, race, options, vectors, queries, truth, what)


# --- exact ------------------------------------------------------------------------------------------------------------


def _exact(
    report: Report, race: Race, options: Namespace, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, what: str
) -> None:
    ids = [str(i) for i in range(len(vectors))]
    kinds: dict[str, dict[str, str]] = {
        "trine fp32": {},
        "trine fp16 + fp32": {"precision": "fp16", "rescore": "fp32"},
        "trine fp16": {"precision": "fp16"},
        "trine int8 + fp32": {"precision": "int8", "rescore": "fp32"},
        "trine int8 + fp16": {"precision": "int8", "rescore": "fp16"},
        "trine int8": {"precision": "int8"},
    }
    contestants: dict[str, Callable[[np.ndarray], Any]] = {}
    found: dict[str, Any] = {}
    for name, how in kinds.items():
        index = Index(vectors.shape[1], **how)
        index.add(ids, vectors)
        contestants[name] = lambda block, index=index: index.search(block, K, threads=race.threads)
        found[name] = _numbers(contestants[name](queries))
    if "faiss" in options.peers:
        import faiss

        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)

        def faiss_search(block: np.ndarray, threshold: int) -> Any:
            faiss.cvar.distance_compute_blas_threshold = threshold  # queries from which it takes a product of matrices
            return flat.search(block, K)

        usual = faiss.cvar.distance_compute_blas_threshold  # which some wheels set so high that it never does
        for name, threshold in {"faiss IndexFlatIP": usual, "faiss IndexFlatIP, BLAS": 20}.items():
            contestants[name] = lambda block, threshold=threshold: faiss_search(block, threshold)
            found[name] = contestants[name](queries)[1]
    if "usearch" in options.peers:
        from usearch.index import MetricKind, search

        def usearch(block: np.ndarray) -> Any:
            return search(vectors, block, K, MetricKind.IP, exact=True, threads=race.threads)

        contestants["usearch exact"] = usearch
        found["usearch exact"] = np.asarray(usearch(queries[:64]).keys).reshape(-1, K)
    overlap = {name: _overlap(truth, of) for name, of in found.items()}

    memory, column = torch.from_numpy(vectors), torch.from_numpy(queries[0])
    readers = {  # of as much memory as one fp32 query reads, by three ways that do little else
        "sum": lambda: memory.sum(),
        "matrix x vector": lambda: torch.mv(memory, column),
        "bits": lambda: memory.view(torch.int64).sum(),
    }
    head = ["contestant", "queries", "ms per query", "rate", "of reading speed", "x trine fp32", "overlap@10"]
    table = report.table(f"Exact search, {what}", head, chart="ms per query")
    for batch in (1, 64):
        block = queries[:batch]
        runs = {name: lambda run=run: run(block) for name, run in contestants.items()}
        seconds = race.run(f"exact search x {batch}", runs | (readers if batch == 1 else {}))
        reading = [seconds.pop(name) for name in readers] if batch == 1 else []
        best = min(reading, key=statistics.median, default=None)
        for name, of in seconds.items():
            part = READ.get(name, 1)
            flop, read = 2 * vectors.size * batch / 1e9, vectors.nbytes * part / 1e9
            rate = f"{read / statistics.median(of):.1f} GB/s" if batch == 1 else f"{flop / statistics.median(of):.0f} GF/s"
            table.row(
                name, batch, spread([s / batch for s in of], 1e3, 3), rate,
                f"{ratio(best, of) * part:.2f}" if best else "", f"{ratio(of, seconds['trine fp32']):.2f}",
                f"{overlap[name]:.4f}", raw={"seconds": of, "reading": best},
            )  # fmt: skip
    reading = vectors.nbytes / 1e9 / statistics.median(table.raw[0]["reading"])
    table.note = f"Reading: {reading:.1f} GB/s, the fastest of three loops."
    report.show(table)


def _top(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Numbers of the best K for each query."""
    best = []
    for some in np.array_split(queries, max(len(queries) // 64, 1)):
        best.append(np.argpartition(-(some @ vectors.T), K, axis=1)[:, :K])
    return np.concatenate(best)


def _numbers(found: list) -> np.ndarray:
    return np.array([[int(match.id) for match in matches] for matches in found])


def _overlap(truth: np.ndarray, found: np.ndarray) -> float:
    return float(np.mean([len(set(map(int, a)) & set(map(int, b))) / K for a, b in zip(truth, found)]))


# --- graphs -----------------------------------------------------------------------------------------------------------


def _graphs(
    report: Report, race: Race, options: Namespace, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, what: str
) -> None:
    """Queries per second of each at the smallest breadth that finds `recall` of the true neighbours."""
    built, searches = _build(race, options, vectors)
    breadth, recall = {}, {}
    for name, search in searches.items():
        for ef in [*range(10, 40), *range(40, 100, 4), *range(100, 420, 10)]:
            found = search(queries, ef)
            breadth[name], recall[name] = ef, _overlap(truth, _numbers(found) if name.startswith("trine") else found)
            if recall[name] >= options.recall:
                break
    title = f"Graphs at recall@{K} of {options.recall:g}, {what}, m {M}, ef_construction {CONSTRUCTION}"
    head = ["contestant", "queries", "ef", "recall@10", "queries/s", "x trine", "built in s, once"]
    table = report.table(title, head, chart="queries/s")
    for batch in (1, 64):

        def run(search: Callable[[np.ndarray, int], Any], ef: int) -> None:
            for begin in range(0, len(queries), batch):
                search(queries[begin : begin + batch], ef)

        seconds = race.run(f"graphs x {batch}", {n: lambda s=s, n=n: run(s, breadth[n]) for n, s in searches.items()})
        for name, of in seconds.items():
            each = sorted(len(queries) / s for s in of)
            table.row(
                name, batch, breadth[name], f"{recall[name]:.4f}", spread(each, 1, 0),
                f"{ratio(of, seconds['trine']):.2f}", f"{built[name]:.0f}", raw={"seconds": of},
            )  # fmt: skip
    report.show(table)


def _build(
    race: Race, options: Namespace, vectors: np.ndarray
) -> tuple[dict[str, float], dict[str, Callable[[np.ndarray, int], Any]]]:
    """Seconds that a graph took, and searches by name: (queries, ef) -> numbers, or our matches."""
    count, dim = vectors.shape
    threads = race.threads
    built: dict[str, float] = {}
    searches: dict[str, Callable[[np.ndarray, int], Any]] = {}
    bar = Bar("building graphs", 2 + sum(name in options.peers for name in ("hnswlib", "faiss", "usearch")))

    def timed(name: str, build: Callable[[], object]) -> None:
        start = race.clock()
        build()
        built[name] = race.clock() - start
        bar.advance(name)

    for name, how in {"trine": {}, "trine int8 + fp16": {"precision": "int8", "rescore": "fp16"}}.items():
        index = Index(dim, **how)
        index.add([str(i) for i in range(count)], vectors)
        timed(name, lambda: index.build_graph(m=M, ef_construction=CONSTRUCTION, threads=threads))
        searches[name] = lambda q, ef, index=index: index.search(q, K, ef=ef, threads=threads)
    if "hnswlib" in options.peers:
        import hnswlib

        graph = hnswlib.Index(space="ip", dim=dim)
        graph.init_index(max_elements=count, M=M, ef_construction=CONSTRUCTION)
        timed("hnswlib", lambda: graph.add_items(vectors, num_threads=threads))

        def search_hnswlib(q: np.ndarray, ef: int) -> np.ndarray:
            graph.set_ef(ef)
            return graph.knn_query(q, k=K, num_threads=threads)[0]

        searches["hnswlib"] = search_hnswlib
    if "faiss" in options.peers:
        import faiss

        walk = faiss.IndexHNSWFlat(dim, M, faiss.METRIC_INNER_PRODUCT)
        walk.hnsw.efConstruction = CONSTRUCTION
        timed("faiss HNSWFlat", lambda: walk.add(vectors))

        def search_faiss(q: np.ndarray, ef: int) -> np.ndarray:
            walk.hnsw.efSearch = ef
            return walk.search(q, K)[1]

        searches["faiss HNSWFlat"] = search_faiss
    if "usearch" in options.peers:
        from usearch.index import Index as Net

        net = Net(ndim=dim, metric="ip", dtype="f32", connectivity=M, expansion_add=CONSTRUCTION, expansion_search=64)
        timed("usearch f32", lambda: net.add(np.arange(count), vectors, threads=threads))

        def search_usearch(q: np.ndarray, ef: int) -> np.ndarray:
            net.expansion_search = ef
            return np.asarray(net.search(q, K, threads=threads).keys).reshape(len(q), -1)

        searches["usearch f32"] = search_usearch
    return built, searches
