"""Whether what an item costs stays the same: over many items, over long texts, over a large index, over a long run."""

from __future__ import annotations

import statistics
from argparse import Namespace
from collections.abc import Sequence

import numpy as np

from ..embedder import Embedder
from ..search import Index
from . import inputs
from .encoders import cached
from .race import Bar, Race, resident, spread
from .report import Report


def measure(report: Report, race: Race, options: Namespace, works: Sequence[str]) -> None:
    if "texts" in works or "lengths" in works:
        model = Embedder(cached("all-MiniLM-L6-v2"), precision=options.precision, device=options.device)
        name = f"all-MiniLM-L6-v2 in {options.precision}"
    if "texts" in works:
        _many(report, race, options, model, name)
    if "lengths" in works:
        _lengths(report, race, model, name)
    if "records" in works:
        _additions(report, race, options)


def _many(report: Report, race: Race, options: Namespace, model: Embedder, name: str) -> None:
    """Sentences in calls of 256: time and memory of each stretch of the run."""
    given = inputs.read_sentences(options.sentences, 2048) if options.sentences else inputs.sentences(2048)
    sentences = inputs.repeated(given)(-(-len(given) // 256) * 256)
    calls = [sentences[i : i + 256] for i in range(0, len(sentences), 256)]
    for call in calls:  # what is kept once it is there: packed weights, buffers
        model.embed_text(call)
    head = ["texts so far", "ms per text", "MB in memory", "MB more than at the start"]
    table = report.table(f"Texts embedded in one run, {name}", head)
    start, done = resident(), 0
    stretches = [n for n in (1_000, 10_000, 100_000, 1_000_000) if n < options.items] + [options.items]
    bar = Bar("embedding", -(-stretches[-1] // 256))
    for until in stretches:
        begin, before = race.clock(), done
        while done < until:
            model.embed_text(calls[done // 256 % len(calls)])
            done += 256
            bar.advance(f"{done:,} texts")
        each, memory = (race.clock() - begin) / (done - before), resident()
        table.row(
            f"{done:,}", f"{1e3 * each:.3f}", f"{memory / 1e6:.0f}", f"{(memory - start) / 1e6:+.1f}",
            raw={"seconds per text": each, "bytes": memory},
        )  # fmt: skip
    report.show(table)


def _lengths(report: Report, race: Race, model: Embedder, name: str) -> None:
    """Texts of 8 to 512 tokens; the arithmetic is the linear layers' and the attention's of MiniLM-L6."""
    head = ["tokens", "texts in a call", "ms per text", "us per token", "GF/s", "GF/s of 8 tokens ="]
    table = report.table(f"Texts of 8 to 512 tokens, {name}", head)
    layers, dim, inner = 6, 384, 1536
    runs, sizes = {}, {}
    for tokens in (8, 16, 32, 64, 128, 256, 512):
        text = " ".join(["bread"] * (tokens - 2))
        count = max(1, 512 // tokens)
        runs[str(tokens)] = lambda texts=[text] * count: model.embed_text(texts, batch_size=len(texts))
        sizes[str(tokens)] = count
    rates: list[float] = []
    for length, of in race.run("lengths", runs).items():
        tokens, each = int(length), [s / sizes[length] for s in of]
        flop = layers * tokens * (2 * (4 * dim * dim + 2 * dim * inner) + 4 * tokens * dim)
        rates.append(flop / statistics.median(each) / 1e9)
        table.row(
            length, sizes[length], spread(each, 1e3, 2), f"{1e6 * statistics.median(each) / tokens:.1f}", f"{rates[-1]:.0f}",
            f"{rates[-1] / rates[0]:.2f}", raw={"seconds": each},
        )  # fmt: skip
    report.show(table)


def _additions(report: Report, race: Race, options: Namespace) -> None:
    """Vectors of 384 into an index in blocks of a thousand."""
    dim, step = 384, 1000
    block = np.random.default_rng(0).standard_normal((step, dim), dtype=np.float32)
    head = ["records", "us per addition since the row above", "bytes per record", "x the vector's"]
    table = report.table(f"Additions to an index of {dim} fp32 values", head)
    index, before, done = Index(dim), resident(), 0
    for size in [n for n in (1000, 10_000, 100_000, 1_000_000) if n <= options.records]:
        begin, first = race.clock(), done
        while done < size:
            index.add([str(i) for i in range(done, done + step)], block)
            done += step
        each, memory = (race.clock() - begin) / (done - first), (resident() - before) / done
        table.row(
            f"{done:,}", f"{1e6 * each:.2f}", f"{memory:,.0f}", f"{memory / (4 * dim):.2f}",
            raw={"seconds": each, "bytes": memory},
        )  # fmt: skip
    report.show(table)
