#!/usr/bin/env python3
"""Writes a manifest of grocery photos, each with its mistyped name and a spoken sentence of the same product and split.

    python examples/train_fusion/grocery_manifest.py DATA CORPUS grocery.jsonl [--photos 1000]

DATA is the folder with grocery/, CORPUS the speech corpus of models/default/train/synthesise.py. Choices are seeded.
`--photos`: at most so many of each split; all by default.
"""

import argparse
import random
import sys
from collections import defaultdict
from pathlib import Path

DEFAULT_MODEL = Path(__file__).resolve().parents[2] / "models" / "default"
sys.path.insert(0, str(DEFAULT_MODEL / "evaluation"))

import make_manifests  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=int)
    options = parser.parse_args()
    data, corpus = options.data.resolve(), options.corpus.resolve()
    titles = {row["id"]: row["title"] for row in make_manifests.read_lines(DEFAULT_MODEL / "catalogue.jsonl")}
    rng = random.Random(1)
    rows = []
    for split in ("train", "val", "test"):
        voices = defaultdict(list)
        for clip in make_manifests.read_lines(corpus / "manifest.jsonl"):
            if clip["split"] == split and clip["label"]:
                voices[clip["label"]].append(str(corpus / clip["audio"]))
        shots = make_manifests.photos(data, split)
        rng.shuffle(shots)
        for shot in shots[: options.photos]:
            product = shot["id"]
            text, audio = make_manifests.misspell(titles[product], rng), rng.choice(voices[product])
            rows.append({"image": shot["image"], "text": text, "audio": audio, "label": titles[product], "split": split})
    make_manifests.write_lines(options.out, rows)


if __name__ == "__main__":
    main()
