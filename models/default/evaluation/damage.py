"""How well the shipped head finds **synthetic** damage, drawn by renderers that training never used onto held-out photos.

    PYTHONPATH=build/release/python python models/default/evaluation/damage.py [PHOTOS] [--split val] [--head FILE]

PHOTOS (default ../shared/data/grocery) holds the photos. Prints Markdown: figure, count, value, 95 % interval, chance.
`--split val` (its photos, its renderers) is for choices, test for the report. Nothing here is about real claims.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "train"))
import damage_pictures  # noqa: E402

import trine  # noqa: E402

SURE = 0.7


def wilson(share: float, count: int) -> tuple[float, float]:
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return middle - half, middle + half


def auc(scores: np.ndarray, damaged: np.ndarray) -> float:
    """The chance that a damaged picture scores above an intact one."""
    above = scores[damaged][:, None] - scores[~damaged]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def resampled(value, count: int, draws: int = 1000) -> tuple[float, float]:
    """A bootstrap interval of value(numbers of pictures)."""
    rng = np.random.default_rng(0)
    return tuple(np.quantile([value(rng.integers(count, size=count)) for _ in range(draws)], (0.025, 0.975)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", nargs="?", type=Path, default=HERE.parents[3] / "shared" / "data" / "grocery")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--count", type=int, default=0, help="pictures; default: one of each photo")
    parser.add_argument("--head", type=Path, help="another head than the default model's")
    options = parser.parse_args()
    detector = trine.DamageDetector(options.head)

    drawn, found = [], []
    for picture, _ in damage_pictures.pictures(options.photos, options.split, options.count, seed=2):
        found.append(detector.inspect(damage_pictures.as_image(picture.pixels)))
        drawn.append(picture)
    scores = np.array([f.probability for f in found])
    damaged = np.array([d.type != damage_pictures.INTACT for d in drawn])
    right = (scores > SURE) == damaged
    told = [(d, f) for d, f in zip(drawn, found) if d.type != damage_pictures.INTACT and f.types]
    typed = [f.types[0].label == d.type for d, f in told]
    severities = np.array([(d.severity, f.severity) for d, f in told])

    print(f"Trained on: {told[0][1].trained_on}.\n\n| synthetic damage, {options.split} | count | value | 95 % interval | chance |\n|---|---|---|---|---|")

    def row(name: str, count: int, value: float, interval: tuple[float, float], chance: str) -> None:
        print(f"| {name} | {count} | {value:.3f} | {interval[0]:.3f} to {interval[1]:.3f} | {chance} |")

    row("ROC AUC", len(scores), auc(scores, damaged), resampled(lambda i: auc(scores[i], damaged[i]), len(scores)), "0.5")
    for name, which, chance in (("accuracy at 0.7", np.ones_like(right), "0.5"), ("damage found at 0.7", damaged, "-"), ("intact left alone at 0.7", ~damaged, "-")):
        share, count = right[which].mean(), int(which.sum())
        row(name, count, share, wilson(share, count), chance)
    row("type, of damage found", len(typed), np.mean(typed), wilson(np.mean(typed), len(typed)), "0.2")
    correlation = lambda i: float(np.corrcoef(severities[i].T)[0, 1])  # noqa: E731
    row("severity, correlation, of damage found", len(told), correlation(slice(None)), resampled(correlation, len(told)), "0")

    by_renderer = defaultdict(list)
    for d, score in zip(drawn, scores):
        by_renderer[d.type, d.renderer].append(score > SURE)
    print("\n| drawn | renderer | count | said to be damaged at 0.7 |\n|---|---|---|---|")
    for (kind, renderer), hits in sorted(by_renderer.items()):
        print(f"| {kind} | {renderer} | {len(hits)} | {np.mean(hits):.3f} |")


if __name__ == "__main__":
    main()
