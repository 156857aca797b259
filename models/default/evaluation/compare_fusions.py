#!/usr/bin/env python3
"""Trains the four fusions on photo, typed name and voice, and compares them with one modality and with plain averages.

    python models/default/evaluation/compare_fusions.py DATA CORPUS OUT [--split val] [--seeds 3]

DATA and CORPUS are those of make_manifests.py, whose queries are measured: a photo of the split, its name with two
typing errors, and a voice with noise at 0 dB. Prints a Markdown table of the share of queries with the right one of 81
products (chance 0.012), mean and spread over the seeds, and writes it with all numbers into OUT/fusions-SPLIT.json.
val is for choices, test for the report. Vectors are kept in OUT; training takes about 15 minutes on one core.

The vectors of training photos and clips come from towers that know them: they are better than those of new ones. So
training sees photos that were cropped, turned, blurred and coloured, clips with noise, and mistyped names.
"""

import argparse
import csv
import json
import random
import statistics
import sys
from pathlib import Path

import make_manifests
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

import trine
from trine.fusion import Fusion

CATALOGUE = Path(__file__).resolve().parent.parent / "catalogue.jsonl"
MODALITIES = ("image", "text", "audio")
TYPES = ("early", "late", "hybrid", "attention")
EPOCHS, BATCH, RATE, WEIGHT_DECAY, DROPOUT = 10, 128, 1e-3, 0.05, 0.3
Vectors = dict[str, torch.Tensor]


# --- vectors ----------------------------------------------------------------------------------------------------------


def disturbed(path: Path, rng: random.Random) -> Image.Image:
    """A photo taken less well."""
    picture = Image.open(path).convert("RGB")
    share = rng.uniform(0.25, 1) ** 0.5
    width, height = int(picture.width * share), int(picture.height * share)
    left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
    picture = picture.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = picture.rotate(rng.uniform(-25, 25), fillcolor=(128, 128, 128))
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))
    for change in (ImageEnhance.Brightness, ImageEnhance.Color, ImageEnhance.Contrast):
        picture = change(picture).enhance(rng.uniform(0.5, 1.5))
    return picture


def in_parts(what: str, items: list, embed) -> torch.Tensor:
    """embed(64 items) -> (64, D), for all of them."""
    parts = []
    for first in range(0, len(items), 64):
        parts.append(embed(items[first : first + 64]))
        print(f"\r{what}: {min(first + 64, len(items))}/{len(items)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return torch.cat(parts)


def train_vectors(model: trine.Embedder, data: Path, corpus: Path, titles: dict[str, str]) -> Vectors:
    """`image`, `text`, `audio` (N, D) with `image_label` ... (N): a pool of each modality by itself."""
    rng, noise_rng = random.Random(1), np.random.default_rng(1)
    number = {product: i for i, product in enumerate(titles)}
    with open(data / "grocery" / "train.csv", newline="") as file:
        photos = [(data / "grocery" / row["path"], number[row["product_id"]]) for row in csv.DictReader(file)]
    paths, labels = [path for path, _ in photos], [label for _, label in photos]
    copies = [in_parts("photos", paths, model.embed_image)]
    for _ in range(2):
        copies.append(
            in_parts("disturbed photos", paths, lambda part: model.embed_image([disturbed(p, rng) for p in part]))
        )

    folds = sorted(path for fold in "123" for path in (data / "sounds_esc10").glob(f"*/{fold}-*"))
    noises = make_manifests.read_noises(folds)

    def noisy(clip: dict) -> tuple[np.ndarray, int]:
        samples, rate = trine.read_audio(corpus / clip["audio"], sample_rate=make_manifests.RATE)
        noise = noises[noise_rng.integers(len(noises))]
        return make_manifests.mix(samples, noise, noise_rng.uniform(-8, 15), noise_rng).astype(np.float32), rate

    clips = [row for row in make_manifests.read_lines(corpus / "manifest.jsonl") if row["split"] == "train" and row["label"]]
    voices = [in_parts("clips", [corpus / clip["audio"] for clip in clips], model.embed_audio)]
    voices.append(in_parts("noisy clips", clips, lambda part: model.embed_audio([noisy(clip) for clip in part])))

    names = [(title, i) for i, title in enumerate(titles.values()) for _ in range(4)]
    names += [(make_manifests.misspell(title, rng), i) for i, title in enumerate(titles.values()) for _ in range(36)]
    return {
        "image": torch.cat(copies),
        "image_label": torch.tensor(labels).repeat(3),
        "audio": torch.cat(voices),
        "audio_label": torch.tensor([number[clip["label"]] for clip in clips]).repeat(2),
        "text": in_parts("names", [name for name, _ in names], model.embed_text),
        "text_label": torch.tensor([label for _, label in names]),
    }


def query_vectors(model: trine.Embedder, folder: Path, titles: dict[str, str]) -> Vectors:
    """`image`, `text`, `audio` (N, D) and `label` (N): one row per photo of the split."""
    number = {product: i for i, product in enumerate(titles)}
    mistyped = make_manifests.read_lines(folder / "photo-misspelt.jsonl")
    spoken = make_manifests.read_lines(folder / "photo-voice-0dB.jsonl")
    if [row["image"] for row in mistyped] != [row["image"] for row in spoken]:
        raise SystemExit(f"The manifests in {folder} do not belong together: run make_manifests.py again.")
    return {
        "image": in_parts("photos", [row["image"] for row in mistyped], model.embed_image),
        "text": in_parts("names", [row["text"] for row in mistyped], model.embed_text),
        "audio": in_parts("voices", [row["audio"] for row in spoken], model.embed_audio),
        "label": torch.tensor([number[row["id"]] for row in mistyped]),
    }


def kept(file: Path, make) -> Vectors:
    """What is in the file, or what `make` makes and is in it from then on."""
    if not file.exists():
        vectors = make()
        beside = file.with_suffix(".part")
        torch.save(vectors, beside)
        beside.replace(file)
    return torch.load(file, weights_only=True)


# --- training ---------------------------------------------------------------------------------------------------------


def as_steps(vectors: torch.Tensor) -> torch.Tensor:
    """(N, D) to a sequence of one step whose values are near 1. -> (N, 1, D)"""
    return torch.nn.functional.normalize(vectors, dim=1).unsqueeze(1) * vectors.shape[1] ** 0.5


def train(kind: str, pool: Vectors, seed: int, dropout: float, what: str) -> torch.nn.Module:
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    fusion = Fusion(type=kind, modalities=list(MODALITIES), hidden_dim=pool["image"].shape[1], ff_dim=512)
    head = torch.nn.Linear(pool["image"].shape[1], int(pool["image_label"].max()) + 1)
    drop = trine.train.ModalityDropout(dropout, seed=seed)
    of_label = {m: [(pool[f"{m}_label"] == label).nonzero().flatten() for label in range(head.out_features)] for m in MODALITIES}
    parameters = [*fusion.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=WEIGHT_DECAY)
    per_epoch = len(pool["image"]) // BATCH
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=per_epoch * EPOCHS, pct_start=0.1)
    fusion.train()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(pool["image"]), generator=draw)
        for rows in order[: per_epoch * BATCH].view(per_epoch, BATCH):
            labels = pool["image_label"][rows]
            features = {"image": pool["image"][rows]}
            for modality in ("text", "audio"):  # any other of the same product
                picks = torch.rand(BATCH, generator=draw)
                choices = [of_label[modality][label] for label in labels]
                chosen = [choice[int(pick * len(choice))] for choice, pick in zip(choices, picks)]
                features[modality] = pool[modality][torch.stack(chosen)]
            features = {m: as_steps(v + 0.03 * torch.randn(v.shape, generator=draw)) for m, v in features.items()}
            features, masks = drop(features, {m: torch.ones(BATCH, 1, dtype=torch.bool) for m in MODALITIES})
            loss = torch.nn.functional.cross_entropy(head(fusion(features, masks)[0]), labels, label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            rate.step()
        print(f"\r{what}: epoch {epoch + 1}/{EPOCHS}, loss {loss.item():.2f} ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    fusion.eval()
    return torch.nn.ModuleDict({"fusion": fusion, "head": head})


# --- measuring --------------------------------------------------------------------------------------------------------


def conditions(queries: Vectors) -> dict[str, Vectors]:
    """What is there: all, two of them, one alone, and all with one replaced by random directions."""
    full = {m: queries[m] for m in MODALITIES}
    draw = torch.Generator().manual_seed(1)
    result = {"all": full}
    for modality in MODALITIES:
        result[f"without {modality}"] = {m: v for m, v in full.items() if m != modality}
    for modality in MODALITIES:
        result[f"{modality} is noise"] = full | {modality: torch.randn(full[modality].shape, generator=draw)}
    return result | {f"{m} alone": {m: full[m]} for m in MODALITIES}


def share(scores: torch.Tensor, labels: torch.Tensor) -> float:
    return (scores.argmax(1) == labels).double().mean().item()


@torch.no_grad()
def measure(model: torch.nn.ModuleDict, given: Vectors, labels: torch.Tensor) -> float:
    features = {m: as_steps(v) for m, v in given.items()}
    return share(model["head"](model["fusion"](features)[0]), labels)


def averages(given: Vectors, labels: torch.Tensor, titles: torch.Tensor, temperatures: dict[str, float]) -> tuple[float, float]:
    """Nearest title of the mean vector; highest mean of the calibrated softmax over titles."""
    unit = {m: torch.nn.functional.normalize(v, dim=1) for m, v in given.items()}
    scores = sum(torch.softmax(v @ titles.T / temperatures[m], 1) for m, v in unit.items())
    return share(sum(unit.values()) @ titles.T, labels), share(scores, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    out, split = options.out.resolve(), options.split
    out.mkdir(parents=True, exist_ok=True)
    if not (out / split / "photo-voice-0dB.jsonl").exists():
        raise SystemExit(f"First: python {make_manifests.__file__} {options.data} {options.corpus} {out / split} --split {split}")

    torch.set_num_threads(1)  # the same numbers on any machine of this kind
    titles = {row["id"]: row["title"] for row in make_manifests.read_lines(CATALOGUE)}
    model = trine.Embedder()
    pool = kept(out / "vectors-train.pt", lambda: train_vectors(model, options.data, options.corpus, titles))
    queries = kept(out / f"vectors-{split}.pt", lambda: query_vectors(model, out / split, titles))
    title_vectors = model.embed_text(list(titles.values()))
    temperatures = {m: json.loads((CATALOGUE.parent / "config.json").read_text())["calibration"][m]["temperature"] for m in MODALITIES}

    labels = queries["label"]
    measured = conditions(queries)
    rows: dict[str, dict[str, list[float]]] = {"mean of vectors": {}, "mean of scores": {}}
    for name, given in measured.items():
        vectors, scores = averages(given, labels, title_vectors, temperatures)
        rows["mean of vectors"][name], rows["mean of scores"][name] = [vectors], [scores]
    for kind in TYPES:
        for dropout in (0.0, DROPOUT):
            row = rows[f"{kind} fusion, modality dropout {dropout:g}"] = {name: [] for name in measured}
            for seed in range(1, options.seeds + 1):
                trained = train(kind, pool, seed, dropout, f"{kind}, dropout {dropout:g}, seed {seed}")
                for name, given in measured.items():
                    row[name].append(measure(trained, given, labels))

    report = {"split": split, "count": len(labels), "chance": 1 / len(titles), "seeds": options.seeds, "rows": rows}
    (out / f"fusions-{split}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"Split {split}, {len(labels)} queries, {len(titles)} products, chance {1 / len(titles):.3f}, {options.seeds} seeds.\n")
    print("| | " + " | ".join(measured) + " |\n|---|" + "---|" * len(measured))
    for name, row in rows.items():
        cells = [f"{statistics.mean(v):.3f}" + (f" ± {statistics.stdev(v):.3f}" if len(v) > 1 else "") for v in row.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
