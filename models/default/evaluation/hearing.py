"""Measures what a transcript beside the speech tower brings: spoken sentences, and products asked for by voice.

    python models/default/evaluation/hearing.py MANIFESTS [--every 3]

MANIFESTS is a folder that make_manifests.py wrote; its split is measured. What was heard is kept in MANIFESTS/heard.jsonl
and not decoded again, so a killed run goes on. `--every N` takes every N-th clip of a product (and the photo pairs whose
clip is among them); all sentences are taken. The trust in a transcript is the model's own, fitted on val by
../train/fit_hearing.py. 95 % intervals: Wilson's for shares, bootstrap over clips for word error rates.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
import trine
from transcripts import errors, rate, wilson, words_of

CONDITIONS = {"clean": "", "10dB": ", noise at 10 dB", "0dB": ", noise at 0 dB"}
FACTS = ("confidence", "no_speech", "repeated", "agreement", "words")
ASIDE = 0.05  # what a description or keyword has to be nearer than a title, see product_search.cpp


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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


def show(figure, query, scores, right, chance):
    ranks = (scores > scores.gather(1, right[:, None])).sum(1)
    hits, count = int((ranks == 0).sum()), len(ranks)
    low, high = wilson(hits, count)
    print(f"| {figure} | {query} | {count} | {hits / count:.3f} | {low:.3f} to {high:.3f} | {chance:.4f} |", flush=True)


def show_words(figure, wanted, texts):
    pairs = [(words_of(a), words_of(b)) for a, b in zip(wanted, texts)]
    wrong, total = np.array([errors(*pair) for pair in pairs]), np.array([len(words) for words, _ in pairs])
    value, low, high = rate(wrong, total)
    print(f"| {figure}: word error rate | transcript | {total.sum()} words of {len(pairs)} clips | {value:.3f} | "
          f"{low:.3f} to {high:.3f} | |", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every N-th clip of a product")
    options = parser.parse_args()
    model = trine.Embedder()
    clips, products = Clips(trine.Hearing(model), options.manifests), Products(model.directory)
    config = json.loads((model.directory / "config.json").read_text())
    fitted = config["audio"]["hearing"]
    trust = torch.tensor([fitted[fact] for fact in FACTS]), fitted["bias"]
    print("| figure | query | count | top-1 | 95 % interval | chance |\n|---|---|---|---|---|---|")

    rows = read_lines(options.manifests / "sentences.jsonl")
    heard, sentences = clips.hear([row["audio"] for row in rows]), sorted({row["text"] for row in rows})
    texts, right = model.embed_text(sentences), torch.tensor([sentences.index(row["text"]) for row in rows])
    for query, vectors in (("direct", heard.direct), ("transcript", heard.written), ("both", heard.both(*trust))):
        show("spoken sentence among all", query, vectors @ texts.T, right, 1 / len(sentences))
    show_words("spoken sentence", [row["text"] for row in rows], heard.texts)

    chance, seen = 1 / len(products.ids), {}
    weight = {m: config["calibration"][m]["gain"] * (0.5 if m == "audio" else 1.0) for m in ("image", "audio")}
    for condition, name in CONDITIONS.items():
        rows = read_lines(options.manifests / f"voice-{condition}.jsonl")[:: options.every]
        heard = clips.hear([row["audio"] for row in rows])
        queries = {"direct": heard.direct, "transcript": heard.written, "both": heard.both(*trust)}
        scores = {query: products.similarities(vectors) for query, vectors in queries.items()}
        for query in queries:
            show(f"product by voice{name}", query, scores[query], products.right(rows), chance)
        print(f"| product by voice{name}: mean trust | both | {len(rows)} | {heard.trust(*trust).mean():.3f} | | |")

        place = {row["audio"]: i for i, row in enumerate(rows)}
        pairs = [row for row in read_lines(options.manifests / f"photo-voice-{condition}.jsonl") if row["audio"] in place]
        fresh = [path for path in {row["image"]: None for row in pairs} if path not in seen]
        seen.update(zip(fresh, model.embed_image(fresh)))
        photo = products.similarities(torch.stack([seen[row["image"]] for row in pairs]))
        chosen, right = [place[row["audio"]] for row in pairs], products.right(pairs)
        show(f"photo and voice{name}", "photo", photo, right, chance)
        for query in ("direct", "both"):
            show(f"photo and voice{name}", query, scores[query][chosen], right, chance)
            mixed = weight["image"] * photo + weight["audio"] * scores[query][chosen]
            show(f"photo and voice{name}", f"photo + {query}", mixed, right, chance)


if __name__ == "__main__":
    main()
