"""train_fusion.py [MANIFEST [OUT]]: a fusion for the manifest's labels, measured on its test split and saved in OUT.

Without a manifest it trains on numbers of its own.
"""

import sys

import torch

import trine
from trine.train import Dataset, FeatureStore, Fit, fit


def made_up() -> Dataset:
    """900 samples of six labels in three modalities that tell them apart well, fairly and poorly; every fourth has no text."""
    torch.manual_seed(7)
    numbers = torch.arange(900) % 6
    features = {}
    for modality, noise in (("image", 1.5), ("text", 2.0), ("audio", 2.5)):
        centres = torch.randn(6, 16)
        features[modality] = (centres[numbers] + noise * torch.randn(900, 16)).unsqueeze(1)
    masks = {"text": (torch.arange(900) % 4 != 3).unsqueeze(1)}
    labels = [f"label {i % 6}" for i in range(900)]
    splits = [("train", "train", "train", "val", "test")[i // 6 % 5] for i in range(900)]
    return Dataset(features, masks, labels, splits=splits)


def report(name: str, result: Fit, data: Dataset, modalities: list[str]) -> None:
    """The share of right labels of the test samples that have one of the modalities, given these alone."""
    x = {m: data.features[m] for m in modalities}
    masks = {m: (data.masks or {}).get(m, torch.ones(v.shape[:2], dtype=torch.bool)) for m, v in x.items()}
    any_there = torch.stack([mask.any(1) for mask in masks.values()]).any(0)
    rows = torch.tensor([i for i, split in enumerate(data.splits) if split == "test" and any_there[i]])
    said = result({m: v[rows] for m, v in x.items()}, {m: mask[rows] for m, mask in masks.items()})
    wanted = torch.tensor([result.model.labels.index(data.labels[i]) for i in rows])
    accuracy = (said.scores.argmax(1) == wanted).double().mean().item()
    weights = " ".join(f"{m} {w.mean().item():.2f}" for m, w in sorted(said.weights.items()))
    print(f"{name:<14} accuracy {accuracy:.3f}; weights {weights}")


torch.set_num_threads(1)  # the same numbers whatever the number of cores
data = FeatureStore(trine.Embedder()).load(sys.argv[1])[0] if len(sys.argv) > 1 else made_up()
result = fit(data, modality_dropout=0.3, seed=1)
print(f"kept epoch {result.best_epoch} of {len(result.history)}")

modalities = sorted(data.features)
report("all", result, data, modalities)
for left_out in modalities:
    report(f"without {left_out}", result, data, [m for m in modalities if m != left_out])
if len(sys.argv) > 2:
    result.save(sys.argv[2])
