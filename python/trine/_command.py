"""What the commands that are Python modules have in common: `trine convert`, `trine verify`, `trine bench`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any


class Parser(argparse.ArgumentParser):
    """Help that begins with a command that works; wrong usage ends with 2."""

    def __init__(self, example: str, **options: Any) -> None:
        super().__init__(prog=" ".join(example.split()[:2]), **options)
        self.example = example

    def format_help(self) -> str:
        return f"  {self.example}\n\n{super().format_help()}"


def run(name: str, work: Callable[[], int]) -> int:
    """The exit code of `work`; what goes wrong in it is a sentence on stderr and 1."""
    try:
        return work()
    except KeyboardInterrupt:
        print(f"[{name}] Interrupted; nothing half-made was kept.", file=sys.stderr)
        return 130
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sentence = " ".join(str(error).split())[:600]  # other libraries' may be pages
        print(sentence if sentence.startswith("[") else f"[{name}] {sentence}", file=sys.stderr)
        return 1
