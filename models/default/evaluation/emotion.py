"""Measures the default model's heads for emotions in texts (GoEmotions) and for environmental sounds (ESC-10).

    python models/default/evaluation/emotion.py ../shared/data

Texts: the thresholds that give each label its best F1 on dev, then test. Sounds: fold 5, which training has not read. The
voice head is shipped with all speakers in it; ../train/train_clip_heads.py prints its figure, each speaker left out. 95 %
intervals: bootstrap over texts, Wilson's for shares.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import trine
from transcripts import wilson


def read(folder, split, names):
    """-> texts, labels (N, 28)"""
    rows = [line.split("\t") for line in (folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines()]
    truth = np.zeros((len(rows), len(names)), bool)
    for row, (_, numbers, _) in enumerate(rows):
        truth[row, [int(number) for number in numbers.split(",")]] = True
    return [text for text, _, _ in rows], truth


def probabilities(predict, texts, names):
    found = np.zeros((len(texts), len(names)), np.float32)
    for row, text in enumerate(texts):
        for score in predict(text):
            found[row, names.index(score.label)] = score.probability
        if row % 100 == 0 or row + 1 == len(texts):
            print(f"\rread {row + 1} / {len(texts)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def f1(found, truth):
    """Of each label; found and truth (..., N, labels)"""
    return 2 * (found & truth).sum(-2) / np.maximum((found.astype(int) + truth).sum(-2), 1)


def thresholds(scores, truth):
    """Of each label the one with the best F1."""
    best = []
    for label in range(truth.shape[1]):
        order = np.argsort(-scores[:, label], kind="stable")
        values = 2 * truth[order, label].cumsum() / (np.arange(1, len(order) + 1) + truth[:, label].sum())
        best.append(scores[order[values.argmax()], label])
    return np.array(best)


def show_texts(figure, scores, truth, chosen, names):
    found = scores >= chosen
    random = np.random.default_rng(1)
    draws = [f1(found[rows], truth[rows]).mean() for rows in random.integers(0, len(truth), (500, len(truth)))]
    low, high = np.quantile(draws, [0.025, 0.975])
    chance = (2 * truth.mean(0) / (truth.mean(0) + 1)).mean()  # every label for every text
    print(f"| {figure} | {len(truth)} | macro-F1 {f1(found, truth).mean():.3f} | {low:.3f} to {high:.3f} | {chance:.3f} |")
    top = truth[np.arange(len(truth)), scores.argmax(1)]
    low, high = wilson(int(top.sum()), len(top))
    common = truth.mean(0).max()
    print(f"| {figure}: the likeliest is right | {len(truth)} | {top.mean():.3f} | {low:.3f} to {high:.3f} | {common:.3f} |")
    bins = np.clip((scores * 10).astype(int), 0, 9)
    gaps = [abs(scores[bins == b].mean() - truth[bins == b].mean()) * (bins == b).mean() for b in range(10) if (bins == b).any()]
    print(f"| {figure}: calibration error of the probabilities (10 bins) | {scores.size} | {sum(gaps):.3f} | | |")
    print("<!-- " + ", ".join(f"{name} {value:.2f}" for name, value in zip(names, f1(found, truth))) + " -->", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with text_emotion_goemotions and sounds_esc10")
    options = parser.parse_args()
    folder = options.data / "text_emotion_goemotions"
    names, groups = (folder / "labels.txt").read_text().split(), json.loads((folder / "ekman.json").read_text())
    model = trine.Embedder()
    emotion = trine.EmotionRecognizer(model)
    print("| figure | count | value | 95 % interval | chance |\n|---|---|---|---|---|")

    found = {}
    for split in ("dev", "test"):
        texts, truth = read(folder, split, names)
        members = [[names.index(name) for name in of_group] for of_group in groups.values()]
        of_groups = np.stack([truth[:, columns].any(1) for columns in members], 1)
        scores = probabilities(emotion.text, texts, list(groups)), probabilities(emotion.text_labels, texts, names)
        found[split] = (scores[0], of_groups), (scores[1], truth)
    for figure, labels, dev, test in zip(("text, 7 groups", "text, 28 labels"), (list(groups), names), found["dev"], found["test"]):
        show_texts(figure, *test, thresholds(*dev), labels)

    sounds = trine.SoundRecognizer(model)
    paths = sorted((options.data / "sounds_esc10").glob("*/5-*"))
    right = sum(sounds.recognize(path)[0].label == path.parent.name.replace("_", " ").lower() for path in paths)
    low, high = wilson(right, len(paths))
    print(f"| sound, ESC-10 fold 5 | {len(paths)} | {right / len(paths):.3f} | {low:.3f} to {high:.3f} | 0.1 |")


if __name__ == "__main__":
    main()
