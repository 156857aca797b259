"""How well intents are told: our own help desk's, Banking77 and CLINC150 with questions out of scope.

    PYTHONPATH=build/release/python python models/default/evaluation/intents.py [DATA] [--split val]

DATA (default ../shared/data/intents) holds banking77 and clinc150. Prints a Markdown table: what, how many, share, Wilson's
95 % interval, chance. `--split val` is for choices: CLINC150's val, and of Banking77 each fifth training sentence, held out.
`intents.jsonl` beside this file was written before any result and before the examples of ../intents.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections import defaultdict
from pathlib import Path

import trine

HERE = Path(__file__).resolve().parent
OTHER = "out_of_scope"
Pairs = list[tuple[str, str]]  # text, intent


def read_csv(path: Path) -> Pairs:
    with open(path, newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def help_desk(data: Path, split: str) -> tuple[Pairs, Pairs]:
    examples = json.loads((HERE.parent / "intents.json").read_text())
    train = [(text, intent) for intent, texts in examples.items() for text in texts]
    if split == "val":
        return [p for i, p in enumerate(train) if i % 5], train[::5]
    with open(HERE / "intents.jsonl") as file:
        return train, [(row["text"], row["intent"]) for row in map(json.loads, file)]


def banking77(data: Path, split: str) -> tuple[Pairs, Pairs]:
    train = read_csv(data / "banking77" / "train.csv")
    if split == "val":
        return [p for i, p in enumerate(train) if i % 5], train[::5]
    return train, read_csv(data / "banking77" / "test.csv")


def clinc150(data: Path, split: str) -> tuple[Pairs, Pairs]:
    parts = json.loads((data / "clinc150" / "data_full.json").read_text())
    other = {name: [(text, OTHER) for text, _ in parts[f"oos_{name}"]] for name in ("train", split)}
    return [(t, i) for t, i in parts["train"]] + other["train"], [(t, i) for t, i in parts[split]] + other[split]


def wilson(right: int, count: int) -> tuple[float, float]:
    z, share = 1.959964, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return middle - half, middle + half


def row(what: str, name: str, right: int, count: int, chance: float) -> str:
    low, high = wilson(right, count)
    return f"| {what} | {name} | {count} | {right / count:.3f} | {low:.3f} to {high:.3f} | {chance:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="?", type=Path, default=HERE.parents[3] / "shared" / "data" / "intents")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    options = parser.parse_args()
    model = trine.Embedder()

    print("| intents | figure | count | share | 95 % interval | chance |\n|---|---|---|---|---|---|")
    for what, read in (("help desk", help_desk), ("Banking77", banking77), ("CLINC150", clinc150)):
        train, test = read(options.data, options.split)
        examples = defaultdict(list)
        for text, intent in train:
            examples[intent].append(text)
        begin = time.perf_counter()
        intents = trine.IntentClassifier(examples, embedder=model)
        print(f"{what}: fitted in {time.perf_counter() - begin:.1f} s", *intents.describe(), sep="\n  ", file=sys.stderr)

        found = intents.understand([text for text, _ in test])
        inside = [(f, intent) for f, (_, intent) in zip(found, test) if intent != OTHER]
        outside = [f for f, (_, intent) in zip(found, test) if intent == OTHER]
        chance = 1 / len(intents.labels)
        right = sum(f.label == intent for f, intent in inside)
        print(row(what, "accuracy, told which are in scope", right, len(inside), chance))
        if outside:
            kept = sum(f.in_scope and f.label == intent for f, intent in inside)
            print(row(what, "in scope: kept and right", kept, len(inside), chance))
            print(row(what, "out of scope: found", sum(not f.in_scope for f in outside), len(outside), 0.5))
        for f, (text, intent) in zip(found, test):
            if what == "help desk" and (f.label if f.in_scope else OTHER) != intent:
                print(f"  {intent}: {text!r} -> {f}", file=sys.stderr)


if __name__ == "__main__":
    main()
