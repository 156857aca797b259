"""Trains the heads that name the emotions of an English text, on GoEmotions.

    python models/default/train/train_text_emotion.py --encoder DIR --data ../shared/data/text_emotion_goemotions \
        --out emotion-text.safetensors

The last blocks of the sentence encoder learn, the others are frozen and run once. On top: attention pooling, a table with
what each token alone says, and two heads, for the 28 labels and for their 7 groups; each label is on its own, for several
may hold. After that, on dev: slope and offset of every label that make its probability true. They are folded into the
weights, and what the blocks have learned is kept as differences of low rank.

Needs torch and transformers; about ten minutes of one core. Everything is chosen on dev; test is not read.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn


def read(folder, split, tokenizer, limit, to_group):
    """-> ids of each text, truth (N, labels + groups)"""
    rows = [line.split("\t") for line in (folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines()]
    labels = torch.zeros(len(rows), len(to_group))
    for row, (_, numbers, _) in enumerate(rows):
        labels[row, [int(number) for number in numbers.split(",")]] = 1
    ids = tokenizer([text for text, _, _ in rows], truncation=True, max_length=limit)["input_ids"]
    return [torch.tensor(row) for row in ids], torch.cat([labels, (labels @ to_group).clamp(max=1)], 1)


class EmotionNetwork(nn.Module):
    """The blocks that learn, and the heads. steps (N, T, dim), ids and mask (N, T) -> logits (N, labels + groups)"""

    def __init__(self, blocks, dim, vocabulary, outputs, num_heads):
        super().__init__()
        self.blocks = blocks
        self.scores, self.values = nn.Linear(dim, num_heads), nn.Linear(dim, dim)
        self.words = nn.Embedding(vocabulary, outputs)
        self.out = nn.Linear(dim, outputs)
        self.dropout = nn.Dropout(0.1)
        nn.init.zeros_(self.scores.weight)
        nn.init.zeros_(self.words.weight)
        nn.init.eye_(self.values.weight)

    def forward(self, steps, ids, mask):
        bias = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)[:, None, None, :]
        for block in self.blocks:
            steps = block(steps, bias)
        shares = self.scores(steps).masked_fill(~mask[..., None], -torch.inf).softmax(1)  # (N, T, heads)
        heads = self.values(steps).unflatten(-1, (shares.shape[-1], -1))  # (N, T, heads, dim / heads)
        pooled = (shares[..., None] * heads).sum(1).flatten(1)
        return self.out(self.dropout(pooled)) + (self.words(ids) * mask[..., None]).sum(1)


def padded(sequences, rows):
    """-> (N, T, ...), mask (N, T)"""
    chosen = [sequences[row] for row in rows]
    mask = torch.arange(max(map(len, chosen))) < torch.tensor([len(row) for row in chosen])[:, None]
    return nn.utils.rnn.pad_sequence(chosen, batch_first=True), mask


def by_length(ids, size):
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    return [order[first : first + size] for first in range(0, len(order), size)]


@torch.no_grad()
def run_frozen(encoder, frozen, ids):
    """What leaves the frozen blocks, of each text. -> (T, dim) fp16 each"""
    found = [None] * len(ids)
    for rows in by_length(ids, 64):
        batch, mask = padded(ids, rows)
        bias = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)[:, None, None, :]
        steps = encoder.embeddings(batch)
        for block in encoder.encoder.layer[:frozen]:
            steps = block(steps, bias)
        for row, values in zip(rows, steps):
            found[row] = values[: len(ids[row])].half()
    return found


@torch.no_grad()
def predict(network, steps, ids):
    network.eval()
    logits = torch.cat([network(padded(steps, rows)[0].float(), *padded(ids, rows)) for rows in by_length(ids, 64)])
    network.train()
    order = [row for rows in by_length(ids, 64) for row in rows]
    return torch.empty_like(logits).index_copy_(0, torch.tensor(order), logits)


def best_f1(scores, truth):
    """The best F1 of each label over all thresholds."""
    values = []
    for column in range(truth.shape[1]):
        hits = truth[scores[:, column].argsort(descending=True), column].cumsum(0)
        values.append((2 * hits / (torch.arange(1, len(hits) + 1) + truth[:, column].sum())).max())
    return torch.stack(values)


def calibrate(logits, truth):
    """Slope and offset of each label with the least negative log-likelihood."""
    slope, offset = torch.ones(truth.shape[1], requires_grad=True), torch.zeros(truth.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([slope, offset], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = nn.functional.binary_cross_entropy_with_logits(slope * logits + offset, truth, reduction="none").sum(1).mean()
        value.backward()
        return value

    optimiser.step(loss)
    return slope.detach(), offset.detach()


def low_rank(before, after, rank):
    """-> rows (out, rank), columns (rank, in): their product is nearest to what was learned."""
    u, s, v = torch.linalg.svd(after - before, full_matrices=False)
    return u[:, :rank] * s[:rank].sqrt(), s[:rank].sqrt()[:, None] * v[:rank]


def train(network, steps, ids, truth, dev, options, names):
    weight = ((1 - truth.mean(0)) / truth.mean(0)).sqrt().clamp(1, 10)  # rare labels count more
    blocks = list(network.blocks.parameters())
    optimiser = torch.optim.AdamW(
        [
            {"params": blocks, "lr": options.rate, "weight_decay": 0.05},
            {"params": network.words.parameters(), "lr": 2e-3, "weight_decay": 0.1},
            {"params": [*network.scores.parameters(), *network.values.parameters(), *network.out.parameters()], "lr": 1e-3},
        ],
        betas=(0.9, 0.98),
    )
    total = len(ids) // options.batch * options.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min((step + 1) / (0.08 * total), (total - step) / total))
    random, started, mean = np.random.default_rng(options.seed), time.process_time(), 0.0
    for epoch in range(options.epochs):
        order = random.permutation(len(ids))
        pools = [sorted(pool, key=lambda row: len(ids[row])) for pool in np.array_split(order, max(1, len(ids) // 3000))]
        batches = [pool[first : first + options.batch] for pool in pools for first in range(0, len(pool), options.batch)]
        random.shuffle(batches := [batch for batch in batches if len(batch) == options.batch])
        for number, rows in enumerate(batches):
            logits = network(padded(steps, rows)[0].float(), *padded(ids, rows))
            losses = nn.functional.binary_cross_entropy_with_logits(logits, truth[rows], pos_weight=weight, reduction="none")
            loss = losses[:, : len(names)].sum(1).mean() + 2 * losses[:, len(names) :].sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(blocks, 1.0)
            optimiser.step()
            schedule.step()
            mean += (loss.item() - mean) / (number % 100 + 1)
            if number % 100 == 99 or number + 1 == len(batches):
                print(json.dumps({"epoch": epoch + 1, "step": number + 1, "of": len(batches), "loss": round(mean, 4),
                                  "cpu_seconds": round(time.process_time() - started)}), flush=True)  # fmt: skip
        report(epoch + 1, predict(network, dev[0], dev[1]), dev[2], len(names))


def report(what, logits, truth, labels):
    f1 = best_f1(logits, truth)
    found = {"dev": what, "labels_f1": round(f1[:labels].mean().item(), 4), "groups_f1": round(f1[labels:].mean().item(), 4)}
    print(json.dumps(found), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, required=True, help="folder of GoEmotions")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frozen", type=int, default=4, help="blocks that do not learn")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-4, help="of the blocks")
    parser.add_argument("--rank", type=int, default=32, help="of the differences that are kept")
    parser.add_argument("--limit", type=int, default=40, help="tokens of a text")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    import transformers

    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    names = (options.data / "labels.txt").read_text().split()
    groups = json.loads((options.data / "ekman.json").read_text())
    to_group = torch.tensor([[float(name in members) for members in groups.values()] for name in names])

    tokenizer = transformers.AutoTokenizer.from_pretrained(options.encoder)
    encoder = transformers.AutoModel.from_pretrained(options.encoder, add_pooling_layer=False).eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    ids, truth = read(options.data, "train", tokenizer, options.limit, to_group)
    neutral = [truth[row, : len(names)].sum() == 1 and truth[row, names.index("neutral")] == 1 for row in range(len(ids))]
    kept = [row for row in range(len(ids)) if not neutral[row] or row % 2]  # every other one of those that are only neutral
    ids, truth = [ids[row] for row in kept], truth[kept]
    dev_ids, dev_truth = read(options.data, "dev", tokenizer, options.limit, to_group)
    steps, dev_steps = run_frozen(encoder, options.frozen, ids), run_frozen(encoder, options.frozen, dev_ids)
    print(json.dumps({"texts": len(ids), "dev_texts": len(dev_ids), "cpu_seconds": round(time.process_time())}), flush=True)

    network = EmotionNetwork(
        encoder.encoder.layer[options.frozen :], encoder.config.hidden_size, encoder.config.vocab_size, truth.shape[1], 8
    ).train()
    train(network, steps, ids, truth, (dev_steps, dev_ids, dev_truth), options, names)

    kept = {}
    with torch.no_grad():
        for name, now in encoder.state_dict().items():
            if torch.equal(now, before[name]):
                continue
            if now.dim() == 2:
                rows, columns = low_rank(before[name], now, options.rank)
                kept[f"encoder.{name}.rows"], kept[f"encoder.{name}.columns"] = rows, columns
                now.copy_(before[name] + rows.half().float() @ columns.half().float())
            else:
                kept[f"encoder.{name}"] = now
    logits = predict(network, dev_steps, dev_ids)
    report("low rank", logits, dev_truth, len(names))
    slope, offset = calibrate(logits, dev_truth)
    for name in ("scores", "values"):
        kept[f"pooling.{name}.weight"], kept[f"pooling.{name}.bias"] = getattr(network, name).weight, getattr(network, name).bias
    kept["words.weight"] = network.words.weight * slope
    kept["out.weight"], kept["out.bias"] = network.out.weight * slope[:, None], network.out.bias * slope + offset
    save_file({name: tensor.detach().half().contiguous() for name, tensor in kept.items()}, options.out)


if __name__ == "__main__":
    main()
