#!/usr/bin/env python3
"""Writes the manifests that `trine evaluate` measures the default model with.

    python models/default/evaluation/make_manifests.py DATA CORPUS OUT [--split val]

DATA is the folder with grocery/ and sounds_esc10/, CORPUS the speech corpus of ../train/synthesise.py. OUT gets one
file of JSON lines per figure, and the noisy clips. Choices are seeded: the same data give the same files.

val is for choices, test for the report. They share no photo, speaker, sentence or noise: test takes the test photos,
the speaker slt, the test phrasings and fold 5 of ESC-10; val the val photos, its own speakers and sentences and fold 4.
"""

import argparse
import csv
import json
import random
import wave
from collections import defaultdict
from pathlib import Path

import numpy as np

import trine

HERE = Path(__file__).resolve().parent
RATE = 16_000
FOLD = {"val": "4", "test": "5"}
NOISES = (10, 0)  # dB of the speech over the noise
NEIGHBOURS = dict(zip("qwertyuiopasdfghjklzxcvbnm", "wertyuiopoasdfghjkklzxcvbn"))  # a key beside each


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows)} queries")


def photos(data: Path, split: str) -> list[dict]:
    """One query per photo, grouped by department."""
    with open(data / "grocery" / "products.csv", newline="") as file:
        department = {row["product_id"]: row["department"] for row in csv.DictReader(file)}
    with open(data / "grocery" / f"{split}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {
            "id": row["product_id"],
            "image": str(data / "grocery" / row["path"]),
            "set": department[row["product_id"]],
        }
        for row in rows
    ]


def spoken(corpus: Path, split: str, kind: str) -> list[dict]:
    return [row for row in read_lines(corpus / "manifest.jsonl") if row["split"] == split and row["set"] == kind]


def typed(split: str, titles: dict[str, str], clips: list[dict]) -> list[dict]:
    """Three sentences around each title, of phrasings that neither training nor the index has."""
    if split == "val":
        return [{"id": clip["label"], "text": clip["target"]} for clip in clips]
    phrasings = json.loads((HERE / "phrasings.json").read_text(encoding="utf-8"))["test"]
    return [
        {"id": product, "text": phrasings[(number + 2 * i) % len(phrasings)].replace("{}", title)}
        for number, (product, title) in enumerate(titles.items())
        for i in range(3)
    ]


def misspell(title: str, rng: random.Random) -> str:
    """Two typing errors, not in neighbouring letters: swapped, left out, doubled, or the key beside."""
    letters = [i for i, letter in enumerate(title) if letter.isalpha()]
    first, second = sorted(rng.sample(letters, 2))
    while second - first < 2:
        first, second = sorted(rng.sample(letters, 2))
    return mistype(mistype(title, second, rng), first, rng)  # the later one first: it moves no letter before it


def mistype(text: str, at: int, rng: random.Random) -> str:
    before, letter, after = text[:at], text[at], text[at + 1 :]
    wrong = (
        before + after[:1] + letter + after[1:],
        before + after,
        before + letter + letter + after,
        before + NEIGHBOURS.get(letter.lower(), letter) + after,
    )
    return rng.choice([t for t in wrong if t.lower() != text.lower()])


def mix(clip: np.ndarray, noise: np.ndarray, decibels: float, rng: np.random.Generator) -> np.ndarray:
    """Noise from a random place of its file, louder or softer until the powers have this ratio."""
    where = np.arange(len(clip)) + rng.integers(len(noise))
    part = noise[where % len(noise)]
    wanted = np.sqrt(np.mean(clip**2)) / 10 ** (decibels / 20)
    mixed = clip + part * wanted / np.sqrt(np.mean(part**2))
    return mixed / max(1.0, np.abs(mixed).max())


def read_noises(paths: list[Path]) -> list[np.ndarray]:
    """Sounds without the silence that their files are filled up with."""
    noises = [trine.read_audio(path, sample_rate=RATE)[0] for path in paths]
    return [noise[np.abs(noise) > 1e-5] for noise in noises]


def add_noise(clips: list[dict], corpus: Path, noises: list[Path], decibels: float, out: Path) -> dict[str, Path]:
    """Noisy copies of the clips. -> {clip: file}"""
    out.mkdir(parents=True, exist_ok=True)
    heard = read_noises(noises)
    made = {}
    for number, clip in enumerate(clips):
        rng = np.random.default_rng([number, int(decibels)])
        samples, _ = trine.read_audio(corpus / clip["audio"], sample_rate=RATE)
        mixed = mix(samples, heard[rng.integers(len(heard))], decibels, rng)
        made[clip["audio"]] = out / Path(clip["audio"]).name
        with wave.open(str(made[clip["audio"]]), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(np.rint(mixed * 32767).astype("<i2").tobytes())
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    options = parser.parse_args()
    data, corpus, out, split = options.data.resolve(), options.corpus.resolve(), options.out.resolve(), options.split
    out.mkdir(parents=True, exist_ok=True)

    titles = {row["id"]: row["title"] for row in read_lines(HERE.parent / "catalogue.jsonl")}
    clips = spoken(corpus, split, "products")
    shots = photos(data, split)

    write_lines(out / "photo.jsonl", shots)
    write_lines(out / "typed.jsonl", typed(split, titles, clips))
    rng = random.Random(1)
    write_lines(out / "photo-misspelt.jsonl", [row | {"text": misspell(titles[row["id"]], rng)} for row in shots])
    if split == "test":
        described = read_lines(HERE / "free_descriptions.jsonl")
        write_lines(out / "described.jsonl", [{"id": row["id"], "text": row["query"]} for row in described])

    noises = sorted((data / "sounds_esc10").glob(f"*/{FOLD[split]}-*"))
    voices = {"clean": {clip["audio"]: corpus / clip["audio"] for clip in clips}}
    for decibels in NOISES:
        voices[f"{decibels}dB"] = add_noise(clips, corpus, noises, decibels, out / f"noise-{decibels}dB")
    rng = random.Random(2)
    by_product = defaultdict(list)
    for clip in clips:
        by_product[clip["label"]].append(clip["audio"])
    pairs = [(row, rng.choice(by_product[row["id"]])) for row in shots]
    for condition, files in voices.items():
        rows = [
            {"id": clip["label"], "audio": str(files[clip["audio"]]), "set": f"{clip['phrasing']} phrasing"}
            for clip in clips
        ]
        write_lines(out / f"voice-{condition}.jsonl", rows)
        both = [{"id": row["id"], "image": row["image"], "audio": str(files[clip])} for row, clip in pairs]
        write_lines(out / f"photo-voice-{condition}.jsonl", both)
        # in one file, so that a transcript is made once
        rows = [row | {"set": "voice"} for row in rows] + [row | {"set": "photo and voice"} for row in both]
        write_lines(out / f"heard-{condition}.jsonl", rows)

    rows = []
    for condition, files in voices.items():
        for row, clip in pairs:
            text = misspell(titles[row["id"]], rng)
            rows.append(row | {"text": text, "audio": str(files[clip]), "set": f"voice {condition}"})
    if split == "test":  # each photo once, in one of the conditions
        rows = [rows[i % len(voices) * len(shots) + i] for i in range(len(shots))]
    write_lines(out / "photo-voice-misspelt.jsonl", rows)
    # the same for `trine advise`: lines of one photo show one thing
    labelled = [{**row, "label": row["id"], "id": row["image"], "split": split} for row in rows]
    write_lines(out / "advise.jsonl", labelled)

    # a photo of one product, the name of another, typed or spoken
    rng = random.Random(3)
    others = [rng.choice([other for other in titles if other != row["id"]]) for row in shots]
    write_lines(out / "contradicting-text.jsonl", [row | {"text": titles[o]} for row, o in zip(shots, others)])
    rows = [row | {"audio": str(corpus / rng.choice(by_product[o]))} for row, o in zip(shots, others)]
    write_lines(out / "contradicting-voice.jsonl", rows)

    # what the catalogue lacks: sentences and sounds for no product, and products that are taken out (those with an id)
    sentences = spoken(corpus, split, "clinc")
    taken = [(shots, "photo, product taken out"), (typed(split, titles, clips), "typed name, product taken out")]
    taken.append(([{"id": clip["label"], "audio": str(corpus / clip["audio"])} for clip in clips], "voice, product taken out"))
    rows = [row | {"set": kind} for some, kind in taken for row in some]
    rows += [{"text": clip["target"], "set": "sentence for no product"} for clip in sentences]
    rows += [{"audio": str(corpus / clip["audio"]), "set": "spoken sentence for no product"} for clip in sentences]
    rows += [{"audio": str(noise.resolve()), "set": "sound"} for noise in noises]
    write_lines(out / "lacking.jsonl", rows)

    rows = [{"audio": str(corpus / clip["audio"]), "text": clip["target"]} for clip in sentences]
    write_lines(out / "sentences.jsonl", rows)


if __name__ == "__main__":
    main()
