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

import numpy as np
import torch
import trine

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "evaluation"))
from make_manifests import read_lines  # noqa: E402

CONDITIONS = ("clean", "10dB", "0dB")
FACTS = ("confidence", "no_speech", "repeated", "agreement", "words")
ASIDE = 0.05  # what a description or keyword has to be nearer than a title, see product_search.cpp


class Clips:
    """What was heard of clips: transcripts, the vectors of both paths, and the facts that the trust depends on."""

    def __init__(self, hearing, folder):
        self.hearing, self.path = hearing, folder / "heard.jsonl"
        self.known = {row["audio"]: row for row in read_lines(self.path)} if self.path.exists() else {}

    def hear(self, paths):
        missing = [path for path in dict.fromkeys(paths) if path not in self.known]
        with self.path.open("a", encoding="utf-8") as file:
            for i, path in enumerate(missing):
                heard = self.hearing.hear(path)
                said = heard.transcript
                self.known[path] = {
                    "audio": path, "text": said.text, "confidence": said.confidence, "no_speech": said.no_speech,
                    "repeated": said.repeated, "direct": [round(x, 5) for x in heard.direct.tolist()],
                }  # fmt: skip
                file.write(json.dumps(self.known[path]) + "\n")
                print(f"\rheard {i + 1} / {len(missing)}", end="", file=sys.stderr, flush=True)
        rows = [self.known[path] for path in paths]
        texts = [row["text"] for row in rows]
        direct = torch.nn.functional.normalize(torch.tensor([row["direct"] for row in rows]), dim=1)
        written = self.hearing.embedder.embed_text([text or "." for text in texts])
        return Paths(texts, direct, written, facts_of(rows, (direct * written).sum(1)))


def facts_of(rows, agreement):
    """As src/apps/hearing.cpp takes them. -> (N, facts)"""
    logits = torch.logit(torch.tensor([row["confidence"] for row in rows]).clamp(1e-4, 1 - 1e-4))
    others = torch.tensor([[row["no_speech"], float(row["repeated"])] for row in rows])
    words = torch.tensor([float(len(row["text"].split()) + 1) for row in rows]).log()
    return torch.cat([logits[:, None], others, agreement[:, None], words[:, None]], 1).float()


class Paths:
    """(N, D) of each path, facts (N, F)"""

    def __init__(self, texts, direct, written, facts):
        self.texts, self.direct, self.written, self.facts = texts, direct, written, facts
        self.said = torch.tensor([float(bool(text)) for text in texts])

    def trust(self, weights, bias):
        return torch.sigmoid(self.facts @ weights + bias) * self.said

    def both(self, weights, bias):
        trust = self.trust(weights, bias)[:, None]
        return torch.nn.functional.normalize(trust * self.written + (1 - trust) * self.direct, dim=1)


class Products:
    """The catalogue as a query sees it."""

    def __init__(self, model):
        index = trine.Index.load(model / "catalogue.trine")
        names = [name.split("\n", 1) for name in index.ids()]
        self.ids = list(dict.fromkeys(product for product, _ in names))
        self.rows = torch.tensor(np.stack([index.vector(name) for name in index.ids()]))
        self.owner = torch.tensor([self.ids.index(product) for product, _ in names])
        self.margin = torch.tensor([ASIDE if what.startswith(("description", "keyword: ")) else 0.0 for _, what in names])

    def similarities(self, vectors):
        """(N, D) -> (N, products)"""
        scores = vectors @ self.rows.T - self.margin
        owner = self.owner.expand(len(vectors), -1)
        return torch.full((len(vectors), len(self.ids)), -2.0).scatter_reduce(1, owner, scores, "amax")

    def right(self, rows):
        return torch.tensor([self.ids.index(row["id"]) for row in rows])


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
