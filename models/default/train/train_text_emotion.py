"""Trains the heads that name the emotions of an English text, on GoEmotions.

    python models/default/train/train_text_emotion.py --encoder DIR --data ../shared/data/text_emotion_goemotions \
        --out models/default/emotion-text.safetensors --run build/training/text-emotion

28 labels and their 7 groups, each on its own, for several may hold. Two parts: a table with what each token says; and the
sentence encoder, whose last blocks learn with an attention pooling and a linear layer (what the blocks before them give is kept
in memory). On dev the two logits are mixed, label by label, so that the probabilities are true; slopes and offsets are
folded into the weights. Everything is chosen on dev; test is not read.

Needs torch and transformers. Half a minute of one core for the table, about ten for each epoch of the blocks. A killed
run goes on from its last whole epoch in `--run`.
"""

import argparse
import json
import sys
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


class Sentence(nn.Module):
    """The encoder's last blocks, attention pooling and a linear layer, as src/apps/emotion.cpp has them."""

    def __init__(self, blocks, dim, outputs, num_heads=8):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.scores, self.values, self.out = nn.Linear(dim, num_heads), nn.Linear(dim, dim), nn.Linear(dim, outputs)
        nn.init.zeros_(self.scores.weight), nn.init.zeros_(self.scores.bias)  # the plain mean, to begin with
        nn.init.eye_(self.values.weight), nn.init.zeros_(self.values.bias)
        nn.init.zeros_(self.out.weight), nn.init.zeros_(self.out.bias)

    def forward(self, steps, mask):
        """steps (N, T, dim), mask (N, T) -> logits (N, outputs)"""
        for block in self.blocks:
            steps = block(steps, attention_mask=mask[:, None, None, :])
        weights = self.scores(steps).masked_fill(~mask[..., None], -torch.inf).softmax(1)  # (N, T, heads)
        values = self.values(steps).unflatten(-1, (weights.shape[-1], -1))
        return self.out((weights[..., None] * values).sum(1).flatten(1))


def batches(ids, rows, size):
    """Rows of much the same length, `size` at a time."""
    pools = [sorted(rows[first : first + 50 * size], key=lambda row: len(ids[row])) for first in range(0, len(rows), 50 * size)]
    return [pool[first : first + size] for pool in pools for first in range(0, len(pool), size)]


def padded(sequences, rows):
    """-> (N, T, ...), mask (N, T)"""
    lengths = torch.tensor([len(sequences[row]) for row in rows])
    steps = nn.utils.rnn.pad_sequence([sequences[row] for row in rows], batch_first=True)
    return (steps.float() if steps.is_floating_point() else steps), torch.arange(lengths.max()) < lengths[:, None]


@torch.no_grad()
def frozen_steps(encoder, ids, count):
    """What the first `count` blocks give for each text. -> (T, dim) each, half precision"""
    found = [torch.empty(0)] * len(ids)
    for rows in batches(ids, range(len(ids)), 64):
        batch, mask = padded(ids, rows)
        steps = encoder.embeddings(input_ids=batch)
        for block in encoder.encoder.layer[:count]:
            steps = block(steps, attention_mask=mask[:, None, None, :])
        for row, one in zip(rows, steps):
            found[row] = one[: len(ids[row])].half()
    return found


@torch.no_grad()
def logits_of(sentence, steps):
    sentence.eval()
    logits = torch.empty(len(steps), sentence.out.out_features)
    for rows in batches(steps, range(len(steps)), 128):
        logits[rows] = sentence(*padded(steps, rows))
    return logits


def train_sentence(sentence, steps, truth, weight, dev, options):
    """Trains in place. `dev(epoch)` is called after each epoch."""
    random, size = np.random.default_rng(options.seed), 32
    orders = [batches(steps, random.permutation(len(steps)), size) for _ in range(options.tuned_epochs)]
    orders = [[order[place] for place in random.permutation(len(order))] for order in orders]
    blocks, rest = [*sentence.blocks.parameters()], [p for name, p in sentence.named_parameters() if not name.startswith("blocks.")]
    optimiser = torch.optim.AdamW([{"params": blocks, "lr": options.rate}, {"params": rest, "lr": 10 * options.rate}], weight_decay=0.01)
    total, warm = sum(map(len, orders)), 300
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / warm) * max(0.0, 1 - step / total)
    )
    kept = options.run / "text-emotion.pt" if options.run else None
    done = 0
    if kept and kept.is_file():
        state = torch.load(kept, weights_only=True)
        sentence.load_state_dict(state["sentence"]), optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"]), torch.set_rng_state(state["random"])
        done = state["done"]
    for epoch in range(done, options.tuned_epochs):
        sentence.train()
        began = time.monotonic()
        for step, rows in enumerate(orders[epoch]):
            optimiser.zero_grad()
            loss = loss_of(sentence(*padded(steps, rows)), truth[rows], weight)
            loss.backward()
            nn.utils.clip_grad_norm_(sentence.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            if step % 20 == 0 and sys.stderr.isatty():
                left = (time.monotonic() - began) / (step + 1) * (len(orders[epoch]) - step - 1)
                print(f"\repoch {epoch + 1}: {step + 1}/{len(orders[epoch])}, loss {loss.item():.3f}, {left:.0f} s left ", end="", file=sys.stderr)
        if kept:
            state = {"sentence": sentence.state_dict(), "optimiser": optimiser.state_dict(), "done": epoch + 1}
            state |= {"schedule": schedule.state_dict(), "random": torch.get_rng_state()}
            torch.save(state, kept.with_suffix(".new"))
            kept.with_suffix(".new").replace(kept)
        dev(epoch + 1)


def minimise(parameters, value_of, steps):
    optimiser = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = value_of()
        value.backward()
        return value

    optimiser.step(loss)
    return [parameter.detach() for parameter in parameters]


def calibrate(parts, truth):
    """A slope of each label for each part of its logit, and an offset, with the least negative log-likelihood."""
    slopes = [torch.full((truth.shape[1],), 1 / len(parts), requires_grad=True) for _ in parts]
    offset = torch.zeros(truth.shape[1], requires_grad=True)
    combined = lambda: sum(slope * part for slope, part in zip(slopes, parts)) + offset  # noqa: E731
    *slopes, offset = minimise([*slopes, offset], lambda: loss_of(combined(), truth, None), 100)
    return slopes, offset


def keep(path, table, sentence, slopes, offset, first_block):
    """As src/apps/emotion.cpp reads it."""
    kept = {
        f"encoder.encoder.layer.{first_block + place}.{name}": tensor
        for place, block in enumerate(sentence.blocks)
        for name, tensor in block.state_dict().items()
    }
    kept |= {f"pooling.{part}.{name}": tensor for part in ("scores", "values") for name, tensor in getattr(sentence, part).state_dict().items()}
    kept |= {"words.weight": table, "out.weight": sentence.out.weight.detach() * slopes[:, None], "out.bias": offset + slopes * sentence.out.bias.detach()}
    save_file({name: tensor.half().contiguous() for name, tensor in kept.items()}, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, required=True, help="folder of GoEmotions")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="folder for checkpoints; a killed run goes on from there")
    parser.add_argument("--epochs", type=int, default=6, help="of the table")
    parser.add_argument("--blocks", type=int, default=3, help="of the encoder that learn")
    parser.add_argument("--tuned-epochs", type=int, default=4, help="of the blocks")
    parser.add_argument("--rate", type=float, default=1e-4, help="highest learning rate of the blocks")
    parser.add_argument("--limit", type=int, default=40, help="tokens of a text")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    if options.run:
        options.run.mkdir(parents=True, exist_ok=True)
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

    encoder = AutoModel.from_pretrained(options.encoder, add_pooling_layer=False, attn_implementation="sdpa").eval()
    frozen = config["num_hidden_layers"] - options.blocks
    steps, dev_steps = frozen_steps(encoder, ids, frozen), frozen_steps(encoder, dev_ids, frozen)
    sentence = Sentence(encoder.encoder.layer[frozen:], config["hidden_size"], truth.shape[1])
    best = -1.0

    def judge(epoch):
        nonlocal best
        dev_sentence = logits_of(sentence, dev_steps)
        report(f"blocks alone, epoch {epoch}", dev_sentence, dev_truth, len(names))
        (of_words, of_sentence), offset = calibrate([dev_words, dev_sentence], dev_truth)
        logits = of_words * dev_words + of_sentence * dev_sentence + offset
        report(f"words and blocks, epoch {epoch}", logits, dev_truth, len(names))
        f1 = best_f1(logits, dev_truth)
        if (value := (f1[: len(names)].mean() + f1[len(names) :].mean()).item()) > best:
            best = value
            keep(options.out, table * of_words, sentence, of_sentence, offset, frozen)

    train_sentence(sentence, steps, truth, weight, judge, options)


if __name__ == "__main__":
    main()
