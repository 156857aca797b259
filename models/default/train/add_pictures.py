"""Prints a catalogue with the pictures of each product added: its training photos.

    python models/default/train/add_pictures.py models/default/catalogue.jsonl ../shared/data/grocery
"""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path


def main(catalogue: Path, data: Path) -> None:
    photos: dict[str, list[str]] = defaultdict(list)
    with open(data / "train.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            photos[row["product_id"]].append(str((data / row["path"]).resolve()))
    for line in catalogue.read_text(encoding="utf-8").splitlines():
        product = json.loads(line)
        print(json.dumps(product | {"images": photos[product["id"]]}, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
