"""Contestants in one interleaved run, and what the machine can do at most."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
LONG_ENOUGH = 0.05  # seconds of the slowest contestant's turn


class Bar:
    """Progress on stderr: one line that is written again on a terminal, a line every half minute elsewhere."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self.terminal = sys.stderr.isatty()
        self.start = time.monotonic()
        self.shown = self.start - 1 if self.terminal else self.start

    def advance(self, note: str = "") -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.shown < (0.2 if self.terminal else 30) and self.done < self.total:
            return
        self.shown = now
        filled = 24 * self.done // self.total
        left = (now - self.start) / self.done * (self.total - self.done)
        line = f"{self.title} [{'#' * filled}{'.' * (24 - filled)}] {self.done}/{self.total} {note:28.28} {left:.0f} s left"
        print(f"\r{line}\033[K" if self.terminal else line, end="", file=sys.stderr, flush=True)
        if not self.terminal or self.done >= self.total:
            print(file=sys.stderr)


def clock_of(name: str, device: torch.device) -> Callable[[], float]:
    """Seconds. A call on a GPU comes back before its work is done, so the clock waits for that before it is read."""
    clock = CLOCKS[name]
    if device.type == "cpu":
        return clock
    if name == "cpu":
        raise ValueError(f"[bench] wanted --clock wall on {device}, got cpu, which does not see what is computed there.")

    def waited() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock()

    return waited


class Race:
    """Runs contestants in turns, each round in another order, and keeps the seconds of every call."""

    def __init__(self, rounds: int, clock: str, threads: int, device: torch.device = torch.device("cpu")) -> None:
        self.rounds, self.threads, self.device, self.clock = rounds, threads, device, clock_of(clock, device)

    def run(self, title: str, contestants: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
        """Seconds per call by contestant and round.

        A turn is as many calls as the slowest needs for 50 ms, the same number for everybody; where that is more than
        one, the first call of a turn is not counted, so that nobody pays for the caches that the one before left. So is
        the first round.
        """
        names = list(contestants)
        for contestant in contestants.values():
            contestant()
        calls = max(1, min(1000, round(LONG_ENOUGH / max(self._turn(c, 1) for c in contestants.values()))))
        seconds: dict[str, list[float]] = {name: [] for name in names}
        bar = Bar(title, self.rounds * len(names))
        collecting = gc.isenabled()
        gc.disable()
        try:
            for i in range(self.rounds):
                for j in range(len(names)):
                    name = names[(i + j) % len(names)]
                    if self.threads > 1:
                        time.sleep(0.02)  # threads of the one before that still spin
                    if calls > 1:
                        contestants[name]()
                    seconds[name].append(self._turn(contestants[name], calls) / calls)
                    bar.advance(name)
                gc.collect()
        finally:
            if collecting:
                gc.enable()
        return seconds

    def _turn(self, contestant: Callable[[], Any], calls: int) -> float:
        start = self.clock()
        for _ in range(calls):
            contestant()
        return self.clock() - start


# --- ceilings ---------------------------------------------------------------------------------------------------------


class Ceilings:
    """Products of square matrices in fp32, bf16 and int8, each by the fastest of LibTorch's ways on this machine."""

    SIZE = 1536  # on the CPU; a GPU would be done before it is full

    def __init__(self, device: torch.device = torch.device("cpu")) -> None:
        self.size = self.SIZE if device.type == "cpu" else 4 * self.SIZE
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(self.size, self.size, generator=generator).to(device) for _ in range(2))
        if device.type != "cpu":
            types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
            self.ways = {name: [lambda x=a.to(of), y=b.to(of): x @ y] for name, of in types.items()}
            return
        bytes_ = [torch.randint(-99, 99, a.shape, generator=generator, dtype=torch.int8) for _ in range(2)]
        self.ways = {
            "fp32": [lambda: a @ b, *_packed(a, b)],
            "bf16": [lambda x=a.bfloat16(), y=b.bfloat16(): x @ y, *_packed(a.bfloat16(), b.bfloat16())],
            "int8": [lambda: torch._int_mm(*bytes_)],
        }

    def measure(self, clock: Callable[[], float], rounds: int = 6) -> dict[str, float]:
        """GF/s, the best of interleaved rounds; keeps the faster way of each."""
        best: dict[str, tuple[float, Callable]] = {}
        for _ in range(rounds):
            for name, ways in self.ways.items():
                for way in ways:
                    start = clock()
                    way()
                    rate = self.rate(clock() - start)
                    if name not in best or rate > best[name][0]:
                        best[name] = (rate, way)
        self.ways = {name: [way] for name, (_, way) in best.items()}
        return {name: rate for name, (rate, _) in best.items()}

    def fp32(self) -> Any:
        """One product, for a race."""
        return self.ways["fp32"][0]()

    def rate(self, seconds: float) -> float:
        return 2 * self.size**3 / max(seconds, 1e-9) / 1e9


def _packed(a: torch.Tensor, b: torch.Tensor) -> list[Callable[[], Any]]:
    """oneDNN's product with packed weights, where this torch has it."""
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(b.t().contiguous().to_mkldnn(), len(a))
        way = lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")
        way()
        return [way]
    except (AttributeError, RuntimeError):
        return []


def bandwidth(clock: Callable[[], float], device: torch.device, megabytes: int = 400) -> float:
    """GB/s at which one process reads memory that is in no cache of its own."""
    memory = torch.zeros(megabytes * 250_000, dtype=torch.float32, device=device)
    best = 0.0
    for _ in range(4):
        start = clock()
        memory.sum()
        best = max(best, memory.nbytes / max(clock() - start, 1e-9) / 1e9)
    return best


# --- words for figures ------------------------------------------------------------------------------------------------


def spread(values: list[float], scale: float, digits: int = 1) -> str:
    """median [least, most]"""
    low, middle, high = (f(values) * scale for f in (min, statistics.median, max))
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def ratio(others: list[float], ours: list[float]) -> float:
    """How many times as fast we are: the median over rounds of theirs / ours."""
    return statistics.median(a / b for a, b in zip(others, ours))


def machine(device: torch.device) -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    there = f"{torch.cuda.get_device_name(device)} ({device}) beside " if device.type == "cuda" else ""
    return f"{there}{model}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} processors"


def resident() -> int:
    """Bytes of this process in memory, without what is freed and pages of files, which the system takes back at any time."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # other C libraries
        ctypes.CDLL(None).malloc_trim(0)
    pages, of_files = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (pages - of_files) * os.sysconf("SC_PAGE_SIZE")
