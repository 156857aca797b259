"""Fits how far the default model trusts a transcript, on validation clips, and writes it into config.json.

    python models/default/train/fit_hearing.py MANIFESTS [--every 3]

MANIFESTS is the folder of val that ../evaluation/make_manifests.py wrote; what is heard is kept there (heard.jsonl). The
trust is a logistic function of a few facts about the transcript. Its weights make the right text the likeliest: spoken
CLINC150 sentences among each other, and products by voice, clean and in noise, among the catalogue.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
import trine

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "evaluation"))
from hearing import CONDITIONS, FACTS, Clips, Products, read_lines  # noqa: E402


def fit(tasks, penalty):
    """`tasks`: (paths, scores of vectors, right). -> weights, bias"""
    weights, bias = torch.zeros(len(FACTS), requires_grad=True), torch.zeros((), requires_grad=True)
    temperatures = torch.full((len(tasks),), math.log(0.05), requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias, temperatures], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = penalty * (weights.square().sum() + bias.square())
        for (paths, scores_of, right), temperature in zip(tasks, temperatures):
            scores = scores_of(paths.both(weights, bias)) / temperature.exp()
            value = value + torch.nn.functional.cross_entropy(scores, right)
        value.backward()
        return value

    optimiser.step(loss)
    return weights.detach(), bias.detach()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=Path, help="of the split val")
    parser.add_argument("--every", type=int, default=1, help="take every N-th clip of a product")
    parser.add_argument("--penalty", type=float, default=0.0003, help="on the squared weights")
    options = parser.parse_args()
    model = trine.Embedder()
    path = model.directory / "config.json"
    config = json.loads(path.read_text())
    # what is heard does not depend on the weights, which hearing wants to have
    config["audio"].setdefault("hearing", {"bias": 0.0} | {fact: 0.0 for fact in FACTS})
    path.write_text(json.dumps(config, indent=2) + "\n")
    clips, products = Clips(trine.Hearing(model), options.manifests), Products(model.directory)

    tasks = {}
    rows = read_lines(options.manifests / "sentences.jsonl")
    sentences = sorted({row["text"] for row in rows})
    texts = model.embed_text(sentences)
    right = torch.tensor([sentences.index(row["text"]) for row in rows])
    tasks["sentences"] = (clips.hear([row["audio"] for row in rows]), lambda vectors: vectors @ texts.T, right)
    for condition in CONDITIONS:
        rows = read_lines(options.manifests / f"voice-{condition}.jsonl")[:: options.every]
        tasks[condition] = (clips.hear([row["audio"] for row in rows]), products.similarities, products.right(rows))

    weights, bias = fit(list(tasks.values()), options.penalty)
    print(json.dumps({"bias": round(bias.item(), 3)} | {f: round(w, 3) for f, w in zip(FACTS, weights.tolist())}))
    print("| val | count | direct | transcript | both | mean trust |\n|---|---|---|---|---|---|")
    for name, (paths, scores_of, right) in tasks.items():
        shares = [
            (scores_of(vectors).argmax(1) == right).float().mean().item()
            for vectors in (paths.direct, paths.written, paths.both(weights, bias))
        ]
        trust = paths.trust(weights, bias).mean().item()
        print(f"| {name} | {len(right)} | " + " | ".join(f"{share:.3f}" for share in [*shares, trust]) + " |")
    config["audio"]["hearing"] = {"bias": round(bias.item(), 3)} | {f: round(w, 3) for f, w in zip(FACTS, weights.tolist())}
    path.write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
