"""Writes tests/golden/search.json: combined queries and re-rank scores from the reference functions in PyTorch.

    python tests/golden/make_search.py MODULES

MODULES is the file with the reference's `combine_query` and `rerank_score` (plain PyTorch).
"""

import importlib.util
import json
import random
import sys
from pathlib import Path

import torch

MODALITIES = ("image", "text", "audio")


def load(path: str):
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(path: str) -> None:
    reference = load(path)
    torch.manual_seed(5)
    random.seed(5)
    combined, scores = [], []
    for chosen in (("image",), ("image", "text"), ("image", "audio"), ("text", "audio"), MODALITIES):
        for weights in (dict(reference.QUERY_WEIGHTS), {"image": 1.0, "text": -0.5, "audio": 2.0}):
            vectors = {m: torch.nn.functional.normalize(torch.randn(3, 8), dim=-1) for m in chosen}
            combined.append({
                "weights": weights,
                "vectors": {m: v.tolist() for m, v in vectors.items()},
                "expected": reference.combine_query(vectors, weights).tolist(),
            })
    supports = [{"image": 0.9}, {"image": 0.9, "text": 0.1}, {"image": 0.0, "text": 1.0}, {"text": 0.5, "audio": 0.5}]
    supports += [{m: random.random() for m in MODALITIES} for _ in range(12)]
    for support in supports:
        for similarity in (0.8, 0.25, -0.3):
            scores.append({
                "similarity": similarity,
                "support": support,
                "expected": list(reference.rerank_score(similarity, support)),
            })
    target = Path(__file__).parent / "search.json"
    target.write_text(json.dumps({"combine_query": combined, "rerank_score": scores}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
