"""How fast the library is on this machine, beside its peers: every contestant in one interleaved run.

    trine bench                             # all of it; peers that are not installed are named and left out
    trine bench encoders minilm --quick     # one encoder, in a minute or two
    trine bench --device cuda               # encoders on a GPU, and what growing costs there
    trine bench --out results               # results/bench.md, bench.json and bench.svg too
    python -m trine.bench ...               # the same

`encoders` (of images, texts and sounds), `pictures` (JPEG to tensor), `search` (vectors), `growth` (whether an item costs
the same after many). Inputs are made here, the same on every machine; `--sentences`, `--photos` and `--clips` take real
ones, `--model` your checkpoint.

Every round runs every contestant once, in another order each time; a figure is the median over the rounds with the least
and the most, a ratio the median of the rounds' ratios. "x trine fp32" says how many times as fast ours in fp32 is as the
row. "of fp32 ceiling" is the row's arithmetic, without padding, over what the machine did in a large fp32 product in the
same rounds. On a GPU the clock waits for it before it is read, and theirs compute in bf16 and fp16 too, as ours do.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from .._command import Parser, run

# The works of each part.
PARTS = {
    "encoders": ("minilm", "bert", "vit", "whisper", "whisper-tiny", "efficientnet"),
    "pictures": (),
    "search": ("exact", "graphs"),
    "growth": ("texts", "lengths", "records"),
}
# Those of which something computes on a GPU.
ON_A_DEVICE = {"encoders": PARTS["encoders"], "growth": ("texts", "lengths")}


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    known = PARTS.get(options.part, ())
    if unknown := [work for work in options.works if work not in known]:
        parser.error(f"{options.part} has no {unknown[0]!r}, but {', '.join(known) or 'one work only'}")
    if options.model and (options.part not in (None, "encoders") or options.works):
        parser.error("--model goes with encoders and no works")
    if options.device:
        there = ON_A_DEVICE if options.part is None else ON_A_DEVICE.get(options.part)
        if there is None or any(work not in there for work in options.works):
            parser.error("--device goes with encoders and with texts and lengths of growth")
    if options.clock == "cpu" and options.threads != 1:
        parser.error("--clock cpu adds up all threads: give --threads 1 with it")
    return run("bench", lambda: _work(options))


def _parser() -> Parser:
    parser = Parser(
        "trine bench encoders minilm --quick", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=PARTS, help="all of them without it")
    works = "; ".join(f"of {part}: {', '.join(of)}" for part, of in PARTS.items() if of)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"{works}; all of them without it")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes: a look, not a measurement")
    parser.add_argument("--rounds", type=_count, help="7; 3 with --quick")
    parser.add_argument("--threads", type=_count, help="as many as torch takes")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall",
        help="cpu: the process's own time, for a machine that others use; takes --threads 1",
    )  # fmt: skip
    parser.add_argument(
        "--device", metavar="NAME",
        help="where encoders compute: cpu, cuda, cuda:1, or auto for CUDA where there is any; without it cpu",
    )  # fmt: skip
    parser.add_argument("--peers", metavar="NAME,...", help="these only; without it all that are installed")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write bench.md, bench.json and bench.svg there too")
    given = parser.add_argument_group("inputs")
    given.add_argument("--sentences", type=Path, metavar="FILE", help="a sentence a line, or the first column of a .csv")
    given.add_argument("--photos", type=Path, metavar="DIR", help="JPEGs")
    given.add_argument("--clips", type=Path, metavar="DIR", help="sounds")
    sizes = parser.add_argument_group("sizes")
    sizes.add_argument("--model", type=Path, metavar="DIR", help="encoders: your checkpoint, beside transformers")
    sizes.add_argument("--batches", metavar="N,...", type=_counts, help="encoders: 1,8,32; 1,8 with --quick")
    sizes.add_argument("--count", type=_count, help="search: vectors, 200000; 20000 with --quick")
    sizes.add_argument("--dim", type=_count, default=384, help="search: their length, 384")
    sizes.add_argument("--recall", type=_share, default=0.98, help="search: at which graphs are compared, 0.98")
    sizes.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16", "int8", "auto"), default="fp32",
        help="growth: what texts are embedded in, fp32",
    )  # fmt: skip
    sizes.add_argument("--items", type=_count, help="growth: texts to embed, 20000; 1000 with --quick")
    sizes.add_argument("--records", type=_count, help="growth: vectors to add, 1000000; 10000 with --quick")
    return parser


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= 100_000_000:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 to 100000000, got {text!r}")
    return number


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"wanted a number over 0 and up to 1, got {text!r}")
    return number


def _work(options: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # no thread spins beside the next contestant
    import torch

    from .. import _trine
    from . import encoders, growth, pictures, search
    from .peers import Peers
    from .race import Ceilings, Race, bandwidth, machine
    from .report import Report

    quick = options.quick
    everything = PARTS if options.device is None else ON_A_DEVICE
    options.device = torch.device(_trine.device(options.device or "cpu"))
    options.rounds = options.rounds or (3 if quick else 7)
    options.threads = options.threads or torch.get_num_threads()
    options.batches = options.batches or ([1, 8] if quick else [1, 8, 32])
    options.count = options.count or (20_000 if quick else 200_000)
    options.items = options.items or (1_000 if quick else 20_000)
    options.records = options.records or (10_000 if quick else 1_000_000)
    named = options.peers.split(",") if options.peers is not None else None
    options.peers = Peers(named)
    if quick and not named:
        options.peers.leave_out("torch.compile", "compiling takes long; with its name in --peers it is there")
    if options.device.type != "cpu":
        for name in ("onnxruntime", "openvino"):
            options.peers.leave_out(name, f"it computes on the CPU here, not on {options.device}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)

    race = Race(options.rounds, options.clock, options.threads, options.device)
    found = Ceilings(options.device).measure(race.clock)
    reading = bandwidth(race.clock, options.device)
    conditions: dict[str, Any] = {
        "machine": machine(options.device), "device": str(options.device), "threads": options.threads,
        "clock": options.clock, "rounds": options.rounds, "ceilings GF/s": found, "reading GB/s": reading,
        "versions": options.peers.versions(), "missing": options.peers.missing, "left out": options.peers.left_out,
    }  # fmt: skip
    report = Report(conditions, _sentence(conditions), options.json)

    parts = [options.part] if options.part else ["encoders"] if options.model else list(everything)
    works = {part: options.works or everything[part] for part in parts}
    if quick and not options.part:
        works["encoders"] = ("minilm", "efficientnet")
    if "encoders" in parts:
        for name in [None] if options.model else works["encoders"]:
            with tempfile.TemporaryDirectory(prefix="trine-bench-") as folder:
                made = encoders.own(options) if name is None else encoders.WORKS[name](options, Path(folder))
                encoders.measure(report, race, made, options.batches)
            _save(report, options.out)
    if "pictures" in parts:
        pictures.measure(report, race, options)
        _save(report, options.out)
    if "search" in parts:
        search.measure(report, race, options, works["search"])
        _save(report, options.out)
    if "growth" in parts:
        growth.measure(report, race, options, works["growth"])
        _save(report, options.out)
    if options.json:
        print(json.dumps(report.to_dict()))
    return 0


def _save(report: Any, folder: Path | None) -> None:
    """What has been measured so far: a run of an hour may be interrupted."""
    if folder is not None:
        (folder / "bench.md").write_text(report.markdown(), encoding="utf-8")
        (folder / "bench.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
        (folder / "bench.svg").write_text(report.svg(), encoding="utf-8")


def _sentence(conditions: dict[str, Any]) -> str:
    ceilings = ", ".join(f"{name} {rate:.0f}" for name, rate in conditions["ceilings GF/s"].items())
    missing, left_out = conditions["missing"], conditions["left out"]
    return (
        f"{conditions['machine']}; {conditions['threads']} thread(s), {conditions['clock']} time, {conditions['rounds']} "
        f"rounds. Ceilings: {ceilings} GF/s, reading {conditions['reading GB/s']:.1f} GB/s. {conditions['versions']}."
        + (f" Not installed: {', '.join(missing)}." if missing else "")
        + "".join(f" {name} is left out: {why}." for name, why in left_out.items())
    )
