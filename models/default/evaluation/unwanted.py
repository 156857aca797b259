#!/usr/bin/env python3
"""Measures `without`: what becomes of searches for a product when its kind, another kind or a sentence is not wanted.

    python models/default/evaluation/unwanted.py build/evaluation/test

The folder is that of make_manifests.py. Queries are its photos and typed names; kinds are the catalogue's `group`: Apple,
Milk, Juice ... The sentences are those of CLINC150 that the manifest `lacking.jsonl` holds. Seeded.
"""

import argparse
import json
import math
import random
from pathlib import Path

import trine


def wilson(share, count, z=1.959964):
    middle, width = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - width) / (1 + z * z / count), (middle + width) / (1 + z * z / count)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=250, help="queries of each sort at most, evenly chosen")
    options = parser.parse_args()
    search = trine.ProductSearch()
    kind = {product.id: product.attributes["group"] for product in search.products}
    kinds = sorted(set(kind.values()))
    sentences = [row["text"] for row in read(options.folder / "lacking.jsonl") if row["set"].startswith("sentence")]
    print("| query | not wanted | count | of its kind, top-1 | of its kind, top-5 | right, top-1 | 95 % interval |")
    print("|---|---|---|---|---|---|---|")
    for name, key in (("photo", "image"), ("typed", "text")):
        rng = random.Random(1)
        rows = read(options.folder / f"{name}.jsonl")
        rows = rows[:: math.ceil(len(rows) / options.count)]
        for what in ("nothing", "its kind", "another kind", "a sentence for no product"):
            first = five = right = 0
            for row in rows:
                own = kind[row["id"]]
                without = {
                    "nothing": None,
                    "its kind": own.lower(),
                    "another kind": rng.choice([other for other in kinds if other != own]).lower(),
                    "a sentence for no product": rng.choice(sentences),
                }[what]
                hits = search.search(**{key: row[key]}, without=without, k=5)
                first += kind[hits[0].id] == own
                five += sum(kind[hit.id] == own for hit in hits) / len(hits)
                right += hits[0].id == row["id"]
            count = len(rows)
            low, high = wilson(right / count, count)
            print(f"| {name} | {what} | {count} | {first / count:.3f} | {five / count:.3f} | {right / count:.3f} | "
                  f"{low:.3f} to {high:.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
