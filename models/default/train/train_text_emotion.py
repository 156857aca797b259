"""Trains the heads that name the emotions of an English text, on GoEmotions.

    python models/default/train/train_text_emotion.py --encoder DIR --data ../shared/data/text_emotion_goemotions \
        --out models/default/emotion-text.safetensors [--texts 8000]

28 labels and their 7 groups, each on its own, for several may hold. Two logistic models: a table with what each token says,
from all texts; and a linear layer on the mean of the sentence encoder's token vectors, from `--texts` of them. On dev their
logits are mixed, label by label, so that the probabilities are true; slopes and offsets are folded into the weights.

Needs torch and transformers. Costs about half a minute of one core, and one more for 10,000 texts of the second step.
Everything is chosen on dev; test is not read.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn


def read(folder, split, tokenizer, limit, to_group):
    """-> ids of each text, truth (N, labels + groups)"""
    rows = [line.split("\t") for line in (folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines()]
    labels = torch.zeros(len(rows), len(to_group))
    for row, (_, numbers, _) in enumerate(rows):
        labels[row, [int(number) for number in numbers.split(",")]] = 1
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    ids = [torch.tensor(found.ids) for found in tokenizer.encode_batch([text for text, _, _ in rows])]
    return ids, torch.cat([labels, (labels @ to_group).clamp(max=1)], 1)


def best_f1(scores, truth):
    """The best F1 of each label over all thresholds."""
    values = []
    for column in range(truth.shape[1]):
        hits = truth[scores[:, column].argsort(descending=True), column].cumsum(0)
        values.append((2 * hits / (torch.arange(1, len(hits) + 1) + truth[:, column].sum())).max())
    return torch.stack(values)


def report(what, logits, truth, labels):
    f1 = best_f1(logits, truth)
    found = {"dev": what, "labels_f1": round(f1[:labels].mean().item(), 4), "groups_f1": round(f1[labels:].mean().item(), 4)}
    print(json.dumps(found | {"cpu_seconds": round(time.process_time())}), flush=True)


def loss_of(logits, truth, weight):
    return nn.functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight, reduction="none").sum(1).mean()


def bags(table, ids, rows):
    chosen = [ids[row] for row in rows]
    offsets = torch.tensor([0, *map(len, chosen[:-1])]).cumsum(0)
    return nn.functional.embedding_bag(torch.cat(chosen), table, offsets, mode="sum")


def train_words(ids, truth, vocabulary, weight, epochs, seed):
    """-> table (vocabulary, outputs), offset (outputs)"""
    share = truth.mean(0)
    table = torch.zeros(vocabulary, truth.shape[1], requires_grad=True)
    offset = (share / (1 - share)).log().requires_grad_()
    optimiser = torch.optim.AdamW([{"params": [table], "lr": 0.02, "weight_decay": 0.02}, {"params": [offset], "lr": 0.01}])
    random, size = np.random.default_rng(seed), 256
    steps = epochs * (len(ids) // size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.02, 1 - step / steps))
    for _ in range(epochs):
        order = random.permutation(len(ids))
        for first in range(0, len(order) - size + 1, size):
            rows = order[first : first + size]
            optimiser.zero_grad()
            loss_of(bags(table, ids, rows) + offset, truth[rows], weight).backward()
            optimiser.step()
            schedule.step()
    return table.detach(), offset.detach()


@torch.no_grad()
def means(encoder, ids):
    """Mean of the last hidden states. -> (N, dim)"""
    found = torch.empty(len(ids), encoder.config.hidden_size)
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    for first in range(0, len(order), 64):
        rows = order[first : first + 64]
        batch = nn.utils.rnn.pad_sequence([ids[row] for row in rows], batch_first=True)
        mask = torch.arange(batch.shape[1]) < torch.tensor([len(ids[row]) for row in rows])[:, None]
        steps = encoder(input_ids=batch, attention_mask=mask.long()).last_hidden_state
        found[rows] = (steps * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return found


def minimise(parameters, value_of, steps):
    optimiser = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = value_of()
        value.backward()
        return value

    optimiser.step(loss)
    return [parameter.detach() for parameter in parameters]


def train_means(features, truth, weight, penalty):
    """-> weight (outputs, dim), offset (outputs)"""
    matrix, offset = torch.zeros(truth.shape[1], features.shape[1], requires_grad=True), torch.zeros(truth.shape[1], requires_grad=True)
    return minimise(
        [matrix, offset],
        lambda: loss_of(features @ matrix.T + offset, truth, weight) + penalty * matrix.square().sum(),
        60,
    )


def calibrate(parts, truth):
    """A slope of each label for each part of its logit, and an offset, with the least negative log-likelihood."""
    slopes = [torch.full((truth.shape[1],), 1 / len(parts), requires_grad=True) for _ in parts]
    offset = torch.zeros(truth.shape[1], requires_grad=True)
    combined = lambda: sum(slope * part for slope, part in zip(slopes, parts)) + offset  # noqa: E731
    *slopes, offset = minimise([*slopes, offset], lambda: loss_of(combined(), truth, None), 100)
    return slopes, offset


def keep(path, table, matrix, offset, heads=8):
    """As src/apps/emotion.cpp reads it: the pooling is the plain mean."""
    dim = matrix.shape[1]
    kept = {
        "pooling.scores.weight": torch.zeros(heads, dim), "pooling.scores.bias": torch.zeros(heads),
        "pooling.values.weight": torch.eye(dim), "pooling.values.bias": torch.zeros(dim),
        "words.weight": table, "out.weight": matrix, "out.bias": offset,
    }  # fmt: skip
    save_file({name: tensor.half().contiguous() for name, tensor in kept.items()}, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, required=True, help="folder of GoEmotions")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=0, help="of the second step; 0: all")
    parser.add_argument("--dev-texts", type=int, default=0, help="of dev for the second step; 0: all")
    parser.add_argument("--epochs", type=int, default=6, help="of the first step")
    parser.add_argument("--limit", type=int, default=40, help="tokens of a text")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    names = (options.data / "labels.txt").read_text().split()
    groups = json.loads((options.data / "ekman.json").read_text())
    to_group = torch.tensor([[float(name in members) for members in groups.values()] for name in names])
    config = json.loads((options.encoder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(options.encoder / "tokenizer.json"))
    ids, truth = read(options.data, "train", tokenizer, options.limit, to_group)
    dev_ids, dev_truth = read(options.data, "dev", tokenizer, options.limit, to_group)
    weight = ((1 - truth.mean(0)) / truth.mean(0)).sqrt().clamp(1, 10)  # rare labels count more

    table, _ = train_words(ids, truth, config["vocab_size"], weight, options.epochs, options.seed)
    dev_words = bags(table, dev_ids, range(len(dev_ids)))
    report("words alone", dev_words, dev_truth, len(names))

    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(options.encoder, add_pooling_layer=False).eval()
    rows = np.random.default_rng(options.seed).permutation(len(ids))[: options.texts or None]
    dev_count = options.dev_texts or len(dev_ids)
    features, dev_features = means(encoder, [ids[row] for row in rows]), means(encoder, dev_ids[:dev_count])
    dev_words, dev_truth = dev_words[:dev_count], dev_truth[:dev_count]
    best = -1.0
    for penalty in (0.00003, 0.0003, 0.003):
        matrix, _ = train_means(features, truth[rows], weight, penalty)
        dev_means = dev_features @ matrix.T
        report(f"means alone, penalty {penalty}", dev_means, dev_truth, len(names))
        (of_words, of_means), offset = calibrate([dev_words, dev_means], dev_truth)
        logits = of_words * dev_words + of_means * dev_means + offset
        report(f"words and means, penalty {penalty}", logits, dev_truth, len(names))
        f1 = best_f1(logits, dev_truth)
        if (value := (f1[: len(names)].mean() + f1[len(names) :].mean()).item()) > best:
            best = value
            keep(options.out, table * of_words, matrix * of_means[:, None], offset)


if __name__ == "__main__":
    main()
