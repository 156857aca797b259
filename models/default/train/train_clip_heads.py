"""Trains the heads that tell from a clip's sound, not its words, how a voice feels and what makes a noise.

    python models/default/train/train_clip_heads.py --encoder DIR --data ../shared/data --out models/default

Voices: EmoDB, German acted speech. Noises: ESC-10. Multinomial logistic regression on mean and standard deviation over
time of the hidden states after one block of Whisper's encoder. Block and penalty are chosen without the clips that are
reported: for EmoDB by leaving one speaker out among the others of each fold (nested), for ESC-10 on fold 4. The voice head
that is kept learns from all speakers, the sound head from folds 1 to 4. Temperatures are fitted on clips that the fitted head
has not learned from; they and the standardisation are folded into the weights.

Needs torch, transformers and trine; a few minutes of one core.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch
import trine
from safetensors.torch import save_file

PENALTIES = (0.003, 0.03, 0.3)  # on the squared weights of standardised features


class Clips:
    """Paths with their labels and groups (speakers, folds); features (N, dim) of each block."""

    def __init__(self, rows, encoder):
        self.labels = sorted({label for _, label, _ in rows})
        self.truth = torch.tensor([self.labels.index(label) for _, label, _ in rows])
        self.groups = np.array([group for _, _, group in rows])
        blocks = zip(*(features_of(encoder, path) for path, _, _ in rows))
        self.features = [torch.stack(block) for block in blocks]

    def rows(self, groups):
        return torch.tensor(np.flatnonzero(np.isin(self.groups, list(groups))))

    def choices(self):
        return [(block, penalty) for block in range(len(self.features)) for penalty in PENALTIES]

    def logits(self, choice, learn, judge):
        """Of the rows `judge` by a head that learned from the rows `learn`."""
        block, penalty = choice
        features = self.features[block]
        weight, bias = fit(features[learn], self.truth[learn], len(self.labels), penalty)
        return features[judge] @ weight.T + bias

    def held_out(self, choice, groups):
        """Of the rows of `groups`, each group by a head that learned from the others."""
        logits = torch.zeros(len(self.truth), len(self.labels))
        for group in groups:
            judge = self.rows([group])
            logits[judge] = self.logits(choice, self.rows(set(groups) - {group}), judge)
        return logits[self.rows(groups)]


@torch.no_grad()
def features_of(encoder, path):
    """-> (2 * d_model) after each block, as src/apps/clip_features.cpp"""
    clip, _ = trine.read_audio(path)
    mel = torch.as_tensor(trine.whisper_mel(clip))[None]
    x = torch.nn.functional.gelu(encoder.conv2(torch.nn.functional.gelu(encoder.conv1(mel)))).transpose(1, 2)
    x = x + encoder.embed_positions.weight[: x.shape[1]]
    found = []
    for layer in encoder.layers:
        x = layer(x, None)
        x = x[0] if isinstance(x, tuple) else x
        found.append(torch.cat([x[0].mean(0), x[0].std(0, unbiased=False)]))
    return found


def fit(features, truth, labels, penalty):
    """-> weight (labels, dim), bias (labels) for features as they are"""
    mean, deviation = features.mean(0), features.std(0, unbiased=False).clamp_min(1e-6)
    x = (features - mean) / deviation
    weight, bias = torch.zeros(labels, x.shape[1], requires_grad=True), torch.zeros(labels, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=40, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ weight.T + bias, truth) + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    scaled = weight.detach() / deviation
    return scaled, bias.detach() - scaled @ mean


def mean_recall(logits, truth):
    right = (logits.argmax(1) == truth).double()
    return torch.stack([right[truth == label].mean() for label in truth.unique()]).mean().item()


def choose(clips, truth, logits_of):
    """The choice with the best mean recall, of equals the least negative log-likelihood."""
    found = {choice: logits_of(choice) for choice in clips.choices()}
    return max(
        found,
        key=lambda c: (round(mean_recall(found[c], truth), 6), -torch.nn.functional.cross_entropy(found[c], truth).item()),
    )


def fit_scale(logits, truth):
    """The factor on the logits at which the truth is likeliest."""
    scales = torch.logspace(-1, 1, 100)
    return scales[torch.stack([torch.nn.functional.cross_entropy(s * logits, truth) for s in scales]).argmin()].item()


def keep(clips, choice, rows, scale, path):
    block, penalty = choice
    weight, bias = fit(clips.features[block][rows], clips.truth[rows], len(clips.labels), penalty)
    save_file({"weight": (weight * scale).half(), "bias": (bias * scale).half()}, path)
    entry = {"weights": path.name, "labels": clips.labels, "block": block + 1}
    print(f"config.json: {json.dumps(entry)}   penalty {penalty}, scale {scale:.2f}", flush=True)


def train_sounds(encoder, data, out):
    paths = sorted(path for path in (data / "sounds_esc10").glob("*/*") if path.name[0] in "1234" and path.name[1] == "-")
    clips = Clips([(path, path.parent.name.replace("_", " ").lower(), int(path.name[0])) for path in paths], encoder)
    learn, judge = clips.rows([1, 2, 3]), clips.rows([4])
    truth = clips.truth[judge]
    choice = choose(clips, truth, lambda choice: clips.logits(choice, learn, judge))
    logits = clips.logits(choice, learn, judge)
    print(f"sounds, fold 4: {mean_recall(logits, truth):.3f} of {len(truth)}", flush=True)
    keep(clips, choice, clips.rows([1, 2, 3, 4]), fit_scale(logits, truth), out / "sound.safetensors")


def train_voices(encoder, data, out):
    folder = data / "voice_emotion_emodb"
    with open(folder / "clips.csv", newline="") as file:
        clips = Clips([(folder / row["path"], row["emotion"], row["speaker"]) for row in csv.DictReader(file)], encoder)
    speakers = sorted(set(clips.groups))
    nested = torch.zeros(len(clips.truth), len(clips.labels))
    for speaker in speakers:
        others = [other for other in speakers if other != speaker]
        choice = choose(clips, clips.truth[clips.rows(others)], lambda choice: clips.held_out(choice, others))
        nested[clips.rows([speaker])] = clips.logits(choice, clips.rows(others), clips.rows([speaker]))
        print(f"speaker {speaker} left out: block {choice[0] + 1}, penalty {choice[1]}", flush=True)
    right, random = (nested.argmax(1) == clips.truth).double(), torch.Generator().manual_seed(1)
    draws = torch.zeros(2000, dtype=torch.double)  # bootstrap over the clips of each label
    for label in range(len(clips.labels)):
        of_label = right[clips.truth == label]
        draws += of_label[torch.randint(len(of_label), (2000, len(of_label)), generator=random)].mean(1) / len(clips.labels)
    low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    print(f"| voice, German acted speech: four emotions, each speaker left out, choices nested | {len(right)} | "
          f"UAR {mean_recall(nested, clips.truth):.3f} | {low:.3f} to {high:.3f} | 0.25 |", flush=True)  # fmt: skip
    choice = choose(clips, clips.truth, lambda choice: clips.held_out(choice, speakers))
    scale = fit_scale(clips.held_out(choice, speakers), clips.truth)
    keep(clips, choice, clips.rows(speakers), scale, out / "emotion-voice.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, required=True, help="folder of whisper-tiny.en")
    parser.add_argument("--data", type=Path, required=True, help="folder with voice_emotion_emodb and sounds_esc10")
    parser.add_argument("--out", type=Path, required=True, help="folder for emotion-voice.safetensors and sound.safetensors")
    options = parser.parse_args()
    from transformers import WhisperModel

    torch.set_num_threads(1)
    encoder = WhisperModel.from_pretrained(options.encoder, dtype=torch.float32).encoder.eval()
    train_sounds(encoder, options.data, options.out)
    train_voices(encoder, options.data, options.out)


if __name__ == "__main__":
    main()
