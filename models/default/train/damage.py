"""Trains the head for synthetic damage: pictures that damage_pictures.py draws, DamageDetector.fit, one file.

    PYTHONPATH=build/release/python python models/default/train/damage.py --photos ../shared/data/grocery --out models/default/damage.safetensors

Half an hour on one core. Choices (maps, boxes, epochs) were made on the val photos with the val renderers, which then
join the training: the more ways of drawing a kind, the better.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import damage_pictures

import trine

TRAINED_ON = "synthetic damage (tears, dents, stains, mould, crushed corners) drawn onto photos of groceries by a program"


def show(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f"{done}/{total}", end="\r", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="the grocery photos")
    parser.add_argument("--out", type=Path, required=True, help="the head")
    parser.add_argument("--count", type=int, default=5280, help="pictures of train; a fifth as many of val are added")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    photos, labels = [], []
    for split, count in (("train", options.count), ("val", options.count // 5)):  # val has served its turn
        for picture, _ in damage_pictures.pictures(options.photos, split, count, square=True):
            photos.append(damage_pictures.as_image(picture.pixels))
            labels.append((picture.type, picture.severity))
    detector = trine.DamageDetector.fit(photos, labels, epochs=options.epochs, trained_on=TRAINED_ON, progress=show)
    detector.save(options.out)
    print(detector.describe())


if __name__ == "__main__":
    main()
