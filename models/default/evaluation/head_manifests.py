#!/usr/bin/env python3
"""Writes the manifests that `trine evaluate --task` measures the default model's heads with.

    python models/default/evaluation/head_manifests.py DATA OUT [--split val]

DATA is the folder with intents/, text_emotion_goemotions/, voice_emotion_emodb/ and sounds_esc10/. OUT gets a file of JSON lines for each head:
help-desk.jsonl, and NAME.jsonl with what it is fitted on, NAME-fit.jsonl, of banking77, clinc150, emotion and
emotion-labels; sound.jsonl is fold 5 of ESC-10, which training has not read (4 for val); voices.jsonl all of EmoDB with its
speakers, for `--leave-out`. `--split val` is for choices:
CLINC150's val, and of Banking77 and the help desk's examples each fifth, held out; thresholds of emotions are fitted on
dev always, which is also what val measures them on. `intents.jsonl` beside this file was written before any result and
before the examples of ../intents.json.
"""

import argparse
import csv
import json
from pathlib import Path

from make_manifests import FOLD, HERE, read_lines, write_lines

OTHER = "out_of_scope"


def row(text: str, *labels: str) -> dict:
    return {"text": text, "label": ", ".join(labels)}


def fifths(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    return [r for i, r in enumerate(rows) if i % 5], rows[::5]


def help_desk(split: str) -> tuple[list[dict], list[dict]]:
    """For test the model is fitted already."""
    examples = json.loads((HERE.parent / "intents.json").read_text(encoding="utf-8"))
    if split == "val":
        return fifths([row(text, intent) for intent, texts in examples.items() for text in texts])
    return [], [row(line["text"], line["intent"]) for line in read_lines(HERE / "intents.jsonl")]


def banking77(folder: Path, split: str) -> tuple[list[dict], list[dict]]:
    def read(name: str) -> list[dict]:
        with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
            return [row(line["text"], line["category"]) for line in csv.DictReader(file)]

    return fifths(read("train")) if split == "val" else (read("train"), read("test"))


def clinc150(folder: Path, split: str) -> tuple[list[dict], list[dict]]:
    parts = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
    read = lambda name: [row(*pair) for pair in parts[name]] + [row(text, OTHER) for text, _ in parts[f"oos_{name}"]]
    return read("train"), read(split)


def emotions(folder: Path, split: str, grouped: bool) -> tuple[list[dict], list[dict]]:
    """The 28 labels of each text, or the groups that they belong to."""
    names = (folder / "labels.txt").read_text().split()
    groups = json.loads((folder / "ekman.json").read_text())
    group_of = {name: group for group, members in groups.items() for name in members}

    def read(part: str) -> list[dict]:
        rows = []
        for line in (folder / f"{part}.tsv").read_text(encoding="utf-8").splitlines():
            text, numbers, _ = line.split("\t")
            labels = [names[int(number)] for number in numbers.split(",")]
            rows.append(row(text, *(dict.fromkeys(group_of[label] for label in labels) if grouped else labels)))
        return rows

    return read("dev"), read("dev" if split == "val" else "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    options = parser.parse_args()
    data, out, split = options.data.resolve(), options.out.resolve(), options.split
    out.mkdir(parents=True, exist_ok=True)
    heads = {
        "help-desk": help_desk(split),
        "banking77": banking77(data / "intents" / "banking77", split),
        "clinc150": clinc150(data / "intents" / "clinc150", split),
        "emotion": emotions(data / "text_emotion_goemotions", split, grouped=True),
        "emotion-labels": emotions(data / "text_emotion_goemotions", split, grouped=False),
    }
    for name, (fit, measured) in heads.items():
        if fit:
            write_lines(out / f"{name}-fit.jsonl", fit)
        write_lines(out / f"{name}.jsonl", measured)
    sounds = sorted((data / "sounds_esc10").glob(f"*/{FOLD[split]}-*"))
    rows = [{"audio": str(path), "label": path.parent.name.replace("_", " ").lower()} for path in sounds]
    write_lines(out / "sound.jsonl", rows)
    folder = data / "voice_emotion_emodb"
    with open(folder / "clips.csv", newline="") as file:
        clips = list(csv.DictReader(file))
    rows = [{"audio": str(folder / c["path"]), "label": c["emotion"], "set": c["speaker"]} for c in clips]
    write_lines(out / "voices.jsonl", rows)


if __name__ == "__main__":
    main()
