"""Vector search: Trine against faiss-cpu, usearch and hnswlib, in one interleaved run.

    python bench/search.py --out build/bench                    # 200,000 x 384, some 20 minutes
    python bench/search.py --count 20000 --passes 3             # a quick look

Needs faiss-cpu, usearch and hnswlib beside Trine; a peer that is not installed is left out and named. Every pass runs
each contestant once, the next pass begins with the next one; medians, ranges and ratios are over passes. Vectors are
unit vectors around cluster centres, themselves around fewer centres, with a spectrum that falls off like that of text
embeddings; the queries are fresh draws. `--sentences FILE` takes the lines of a text file instead, embedded by the
model in `--model`.

--clock cpu counts the process's CPU time instead, for a machine that others use; of two threads it counts the sum.
Writes search.md and search.json to --out and the table to the output.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # no thread spins beside the next contestant

import numpy as np
import torch

import trine

K = 10
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = time.perf_counter
peers_here: dict = {}  # name -> module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--passes", type=int, default=9)
    parser.add_argument("--recall", type=float, default=0.98, help="at which graphs are compared")
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=200)
    parser.add_argument("--sentences", type=Path)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--parts", nargs="+", choices=("exact", "graph", "growth"), default=["exact", "graph", "growth"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    global clock
    clock = CLOCKS[options.clock]
    peers_here.update(peers())

    vectors, queries, what = data(options)
    report = Report(f"{len(vectors):,} x {vectors.shape[1]}, {what}; {options.clock} time, {options.passes} passes")
    if "exact" in options.parts:
        exact(report, vectors, queries, options)
    if "graph" in options.parts:
        graphs(report, vectors, queries, options)
    if "growth" in options.parts:
        growth(report, vectors)
    print(report.markdown())
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "search.md").write_text(report.markdown())
        (options.out / "search.json").write_text(json.dumps(report.json, indent=1) + "\n")


# --- data -------------------------------------------------------------------------------------------------------------


def data(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, str]:
    if options.sentences:
        lines = sorted({line.strip() for line in options.sentences.read_text().splitlines()} - {""})
        vectors = trine.Embedder(options.model).encode(lines, convert_to_numpy=True).astype(np.float32)
        order = np.random.default_rng(0).permutation(len(vectors))
        held = min(1024, len(vectors) // 5)
        return vectors[order[held:]], vectors[order[:held]], f"sentences of {options.sentences.name}"
    generator = np.random.default_rng(0)
    spectrum = (1 + np.arange(options.dim)) ** -0.5

    def around(centres: np.ndarray, count: int, spread: float) -> np.ndarray:
        picked = centres[generator.integers(len(centres), size=count)]
        noise = generator.standard_normal((count, options.dim), dtype=np.float32) * spectrum
        return unit(picked + spread * unit(noise))

    topics = around(np.zeros((1, options.dim)), 200, 1)
    themes = around(topics, 4000, 0.8)
    made = around(themes, options.count + 512, 0.7)
    return made[512:], made[:512], "a mixture of 4000 themes in 200 topics on the sphere"


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


# --- measuring --------------------------------------------------------------------------------------------------------


class Report:
    def __init__(self, what: str) -> None:
        self.what = what
        self.json: dict = {"what": what, "machine": machine(), "tables": []}

    def table(self, title: str, head: list[str], rows: list[list[str]], raw: dict) -> None:
        self.json["tables"].append({"title": title, "head": head, "rows": rows, "raw": raw})
        print(self._table(self.json["tables"][-1]), file=sys.stderr, flush=True)

    def markdown(self) -> str:
        lines = f"# Vector search\n\n{self.what}; top {K}, inner product.\n\n{self.json['machine']}\n"
        return lines + "".join(self._table(table) for table in self.json["tables"])

    @staticmethod
    def _table(table: dict) -> str:
        lines = [table["head"], ["---"] * len(table["head"]), *table["rows"]]
        return f"\n## {table['title']}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def machine() -> str:
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    versions = [f"{name} {module.__version__}" for name, module in peers_here.items() if hasattr(module, "__version__")]
    return f"{model or platform.machine()}, {os.cpu_count()} processors, trine {trine.__version__}, " + ", ".join(versions)


def peers() -> dict:
    found = {}
    for name in ("faiss", "usearch.index", "hnswlib"):
        try:
            found[name.split(".")[0]] = __import__(name, fromlist=["x"])
        except ImportError:
            print(f"{name} is not installed and left out", file=sys.stderr)
    if "usearch" in found:
        import usearch

        found["usearch"].__version__ = usearch.__version__
    return found


def race(contestants: dict[str, Callable[[], object]], passes: int) -> dict[str, list[float]]:
    """Seconds of each pass by contestant; the first call of each is not counted."""
    names = list(contestants)
    for name in names:
        contestants[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.disable()
    for number in range(passes):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            start = clock()
            contestants[name]()
            seconds[name].append(clock() - start)
    gc.enable()
    return seconds


def spread(values: list[float], unit: float, digits: int = 2) -> str:
    """median [smallest, largest]"""
    low, middle, high = (round(f(values) * unit, digits) for f in (min, statistics.median, max))
    return f"{middle:g} [{low:g}, {high:g}]"


def ratio(other: list[float], ours: list[float]) -> str:
    """How many times as fast we are: the median over passes of theirs / ours."""
    return f"{statistics.median(a / b for a, b in zip(other, ours)):.2f}"


def threads_of_all(count: int) -> None:
    torch.set_num_threads(count)
    if "faiss" in peers_here:
        peers_here["faiss"].omp_set_num_threads(count)


# --- exact ------------------------------------------------------------------------------------------------------------


def exact(report: Report, vectors: np.ndarray, queries: np.ndarray, options: argparse.Namespace) -> None:
    ids = [str(i) for i in range(len(vectors))]
    kinds = {
        "trine fp32": {},
        "trine fp16 + fp32": {"precision": "fp16", "rescore": "fp32"},
        "trine fp16": {"precision": "fp16"},
        "trine int8 + fp32": {"precision": "int8", "rescore": "fp32"},
        "trine int8 + fp16": {"precision": "int8", "rescore": "fp16"},
        "trine int8": {"precision": "int8"},
    }
    ours = {}
    for name, how in kinds.items():
        ours[name] = trine.Index(vectors.shape[1], **how)
        ours[name].add(ids, vectors)
    truth = top(vectors, queries)
    accuracy = {name: overlap(truth, by_number(index.search(queries, K))) for name, index in ours.items()}
    accuracy |= {name: 1.0 for name in ("faiss IndexFlatIP", "usearch exact")}

    faiss, usearch = peers_here.get("faiss"), peers_here.get("usearch")
    flat = None
    if faiss:
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
    rows, raw = [], {}
    for threads in options.threads:
        threads_of_all(threads)
        for batch in (1, 64):
            asked = queries[:batch] if batch > 1 else queries[0]
            block = queries[:batch]
            contestants = {
                name: lambda index=index: index.search(asked, K, threads=threads) for name, index in ours.items()
            }
            if faiss:
                contestants["faiss IndexFlatIP"] = lambda: flat.search(block, K)
            if usearch:
                metric = usearch.MetricKind.IP
                contestants["usearch exact"] = lambda: usearch.search(
                    vectors, asked, K, metric, exact=True, threads=threads
                )
            memory = torch.from_numpy(vectors)
            column = torch.from_numpy(queries[0])
            if batch == 1:  # what reading as many bytes takes: the fastest of three that do little else
                contestants["read: sum"] = lambda: memory.sum()
                contestants["read: matrix x vector"] = lambda: torch.mv(memory, column)
                contestants["read: bits"] = lambda: memory.view(torch.int64).sum()
            seconds = race(contestants, options.passes * (3 if batch == 1 else 1))
            raw[f"{batch} x {threads}"] = seconds
            reading = {name: of for name, of in seconds.items() if name.startswith("read")}
            best = min(reading.values(), key=statistics.median) if reading else None
            for name, of in seconds.items():
                if name in reading and of is not best:
                    continue
                rate = [vectors.nbytes * SHARE.get(name.split(" + ")[0], 1) / s / 1e9 for s in of]
                flops = [2 * vectors.size * batch / s / 1e9 for s in of]
                rows.append(
                    [
                        name,
                        str(batch),
                        str(threads),
                        spread([s / batch for s in of], 1e3, 3),
                        *(ratio(seconds[other], of) if other in seconds and name not in reading else ""
                          for other in ("faiss IndexFlatIP", "usearch exact")),
                        spread(rate, 1, 1) + " GB/s" if batch == 1 else spread(flops, 1, 0) + " GF/s",
                        ratio(best, [s / SHARE.get(name.split(" + ")[0], 1) for s in of]) if best else "",
                        f"{accuracy[name]:.4f}" if name in accuracy else "",
                    ]
                )
    head = ["exact", "queries", "threads", "ms per query", "x faiss", "x usearch", "rate", "of reading", "overlap@10"]
    report.table("Exact search", head, rows, raw)


SHARE = {"trine fp16": 1 / 2, "trine int8": 1 / 4}  # bytes read for each byte of fp32


def top(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Numbers of the best K for each query."""
    best = []
    for some in np.array_split(queries, max(len(queries) // 64, 1)):
        scores = some @ vectors.T
        best.append(np.argpartition(-scores, K, axis=1)[:, :K])
    return np.concatenate(best)


def by_number(found: list[list[trine.Match]]) -> list[list[int]]:
    return [[int(match.id) for match in matches] for matches in found]


def overlap(truth: np.ndarray, found: list) -> float:
    return float(np.mean([len(set(map(int, a)) & set(map(int, b))) / K for a, b in zip(truth, found)]))


# --- graphs -----------------------------------------------------------------------------------------------------------


def graphs(report: Report, vectors: np.ndarray, queries: np.ndarray, options: argparse.Namespace) -> None:
    """Queries per second of each at the smallest breadth that finds `recall` of the true neighbours."""
    count, dim = vectors.shape
    m, construction = options.m, options.ef_construction
    truth = top(vectors, queries)
    built: dict[str, list[float]] = {}
    searches: dict[str, Callable] = {}  # (queries, ef, threads) -> numbers

    def timed(name: str, build: Callable[[], object]) -> None:
        start = clock()
        build()
        built.setdefault(name, []).append(clock() - start)
        print(f"{name}: built in {built[name][-1]:.1f} s", file=sys.stderr, flush=True)

    for name, how in {"trine": {}, "trine int8 + fp16": {"precision": "int8", "rescore": "fp16"}}.items():
        index = trine.Index(dim, **how)
        index.add([str(i) for i in range(count)], vectors)
        timed(name, lambda: index.build_graph(m=m, ef_construction=construction, threads=2))
        searches[name] = lambda q, ef, threads, index=index: index.search(q, K, ef=ef, threads=threads)
    if hnswlib := peers_here.get("hnswlib"):
        graph = hnswlib.Index(space="ip", dim=dim)
        graph.init_index(max_elements=count, M=m, ef_construction=construction)
        timed("hnswlib", lambda: graph.add_items(vectors, num_threads=2))

        def search_hnswlib(q, ef, threads):
            graph.set_ef(ef)
            return graph.knn_query(q, k=K, num_threads=threads)[0]

        searches["hnswlib"] = search_hnswlib
    if faiss := peers_here.get("faiss"):
        walk = faiss.IndexHNSWFlat(dim, m, faiss.METRIC_INNER_PRODUCT)
        walk.hnsw.efConstruction = construction
        faiss.omp_set_num_threads(2)
        timed("faiss HNSWFlat", lambda: walk.add(vectors))

        def search_faiss(q, ef, threads):
            walk.hnsw.efSearch = ef
            return walk.search(q, K)[1]

        searches["faiss HNSWFlat"] = search_faiss
    if usearch := peers_here.get("usearch"):
        net = usearch.Index(
            ndim=dim, metric="ip", dtype="f32", connectivity=m, expansion_add=construction, expansion_search=64
        )
        timed("usearch f32", lambda: net.add(np.arange(count), vectors, threads=2))

        def search_usearch(q, ef, threads):
            net.expansion_search = ef
            return net.search(q, K, threads=threads).keys.reshape(len(q), -1)

        searches["usearch f32"] = search_usearch

    breadth, recall = {}, {}
    for name, search in searches.items():
        for ef in [*range(10, 40, 2), *range(40, 100, 4), *range(100, 420, 10)]:
            found = search(queries, ef, 2)
            found = by_number(found) if name.startswith("trine") else found
            breadth[name], recall[name] = ef, overlap(truth, found)
            if recall[name] >= options.recall:
                break
    rows, raw = [], {"built": built, "recall": recall, "ef": breadth}
    for threads in options.threads:
        threads_of_all(threads)
        for batch in (1, 64):
            def run(search: Callable, ef: int) -> None:
                for begin in range(0, len(queries), batch):
                    search(queries[begin : begin + batch], ef, threads)

            seconds = race({n: lambda s=s, n=n: run(s, breadth[n]) for n, s in searches.items()}, options.passes)
            raw[f"{batch} x {threads}"] = seconds
            for name, of in seconds.items():
                rows.append(
                    [
                        name,
                        str(batch),
                        str(threads),
                        str(breadth[name]),
                        f"{recall[name]:.4f}",
                        spread([len(queries) / s for s in of], 1, 0),
                        *(ratio(seconds[other], of) if other in seconds else ""
                          for other in ("hnswlib", "faiss HNSWFlat", "usearch f32")),
                        f"{built[name][0]:.0f}",
                    ]
                )
    head = ["graph", "queries", "threads", "ef", "recall@10", "queries per second", "x hnswlib", "x faiss", "x usearch",
            "built in s (2 threads, once)"]
    report.table(f"Graphs at recall@10 of {options.recall}, M {m}, ef_construction {construction}", head, rows, raw)


# --- growth -----------------------------------------------------------------------------------------------------------


def growth(report: Report, vectors: np.ndarray) -> None:
    """Time and memory of an addition from the first thousand to the millionth."""
    dim = vectors.shape[1]
    rows, raw = [], {}
    index = trine.Index(dim)
    before, step = resident(), 1000
    for size in (1000, 10_000, 100_000, 1_000_000):
        start = clock()
        for begin in range(len(index), size, step):
            block = vectors[np.arange(begin, begin + step) % len(vectors)]
            index.add([str(i) for i in range(begin, begin + step)], block)
        added = size - (size // 10 if size > 1000 else 0)
        each = (clock() - start) / added * 1e6
        memory = (resident() - before) / size
        rows.append([f"{size:,}", f"{each:.2f}", f"{memory:,.0f}", f"{memory / (4 * dim):.2f}"])
        raw[str(size)] = {"us": each, "bytes": memory}
    head = ["records", "us per addition since the line above", "bytes per record", "x the vector's"]
    report.table("Growth", head, rows, raw)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
