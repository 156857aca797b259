"""Trains models/default/video: a clip's frames, sound and captions to the vector of its description.

    python models/default/train/train_video.py --data ../shared/data --corpus DIR --work DIR --out models/default/video

Clips are made up (see video_clips.py) out of features that are computed once: photos of the grocery data, as they are and as
frames of a video (scaled into a box with black bars, compressed), spoken product names of the speech corpus and sounds of ESC-10.
train, and folds 1 to 3, to learn from; val and fold 4 to choose on, whose figures are printed. What comes of it on clips that are
rendered to files, of test photos, the speaker slt and fold 5: `trine evaluate --task video` (../evaluation/run.sh). Needs the default
model; a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import random
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import video_clips  # noqa: E402

import trine  # noqa: E402

SECONDS_OF_SOUND = 2.0  # around each frame, as VideoSearch takes them
STEP = 1.0  # seconds from frame to frame
SCENE = (2.0, 5.5)  # seconds of a scene
PHOTOS = {"train": 14, "val": 8}  # of a product, at most
CLIPS = {"train": 8, "val": 3}  # spoken, of a product, at most
FOLDS = {"train": "123", "val": "4"}
BOXES = [(480, 360), (640, 360), (360, 360), (360, 640)]  # px of a video


def cached(path: Path, make):
    if not path.exists():
        value = make()
        torch.save(value, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").rename(path)
    return torch.load(path)


def as_frame(path: Path, chance: random.Random) -> Image.Image:
    """The photo as a video shows it: scaled into a box, black bars where it does not fill it, compressed."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
    frame = Image.new("RGB", chance.choice(BOXES))
    photo.thumbnail(frame.size, Image.Resampling.BICUBIC)
    frame.paste(photo, ((frame.width - photo.width) // 2, (frame.height - photo.height) // 2))
    jpeg = io.BytesIO()
    frame.save(jpeg, "JPEG", quality=chance.randrange(35, 90))
    return Image.open(jpeg)


def frames_of(length: float, phase: float) -> int:
    """How many are taken of a scene whose first one is taken `phase` seconds after it begins."""
    return int((length - phase) / STEP) + 1


def take(model: trine.Embedder, samples, rate: int, chance: random.Random) -> torch.Tensor:
    """A sound somewhere in a scene of some length, and cut at its end -> (frames + 2, D): what VideoSearch hears around the
    last frame before the scene, each of its own and the first one after it, zeros where that is silence."""
    length, phase = chance.uniform(*SCENE), chance.uniform(0, STEP)
    begin = chance.choice([0.0, chance.uniform(0, max(length - 1.5, 0.2))])
    first = phase - STEP - SECONDS_OF_SOUND / 2  # seconds from the scene's beginning to the first window's
    count = frames_of(length, phase) + 2
    timeline = torch.zeros(int(((count - 1) * STEP + SECONDS_OF_SOUND) * rate) + 1)
    start = int((begin - first) * rate)
    sound = torch.as_tensor(samples)[: min(int((length - begin) * rate), len(timeline) - start)]
    timeline[start : start + len(sound)] = sound
    rows = []
    for i in range(count):
        piece = timeline[int(i * STEP * rate) : int((i * STEP + SECONDS_OF_SOUND) * rate)]
        try:
            rows.append(model.embed_audio((piece.numpy(), rate)))
        except RuntimeError:  # silent
            rows.append(torch.zeros(model.dim))
    return torch.stack(rows)


def photo_vectors(model: trine.Embedder, data: Path, split: str) -> dict[int, torch.Tensor]:
    """Of each photo as it is, then of each as a frame."""
    paths: dict[int, list[Path]] = {}
    rows = list(csv.DictReader(open(data / "grocery" / f"{split}.csv")))
    chance = random.Random(1)
    chance.shuffle(rows)
    for row in rows:
        paths.setdefault(int(row["product_id"]), []).append(data / "grocery" / row["path"])
    chosen = {p: files[: PHOTOS[split]] for p, files in sorted(paths.items())}
    return {p: model.embed_image([*files, *(as_frame(file, chance) for file in files)]) for p, files in chosen.items()}


def spoken_takes(model: trine.Embedder, corpus: Path, split: str) -> dict[int, list[torch.Tensor]]:
    clips: dict[int, list[str]] = {}
    rows = [json.loads(line) for line in open(corpus / "manifest.jsonl")]
    rows = [r for r in rows if r["split"] == split and r["set"] == "products" and r["label"] is not None]
    random.Random(2).shuffle(rows)
    for row in rows:
        clips.setdefault(int(row["label"]), []).append(row["audio"])
    chance = random.Random(3)
    return {
        p: [take(model, *trine.read_audio(corpus / f), chance) for f in files[: CLIPS[split]]]
        for p, files in sorted(clips.items())
    }


def sound_takes(model: trine.Embedder, data: Path, split: str) -> dict[str, list[torch.Tensor]]:
    chance = random.Random(4)
    files = {name: sorted((data / "sounds_esc10" / name).iterdir()) for name in video_clips.SOUNDS}
    return {
        name: [take(model, *trine.read_audio(f), chance) for f in paths if f.name[0] in FOLDS[split] for _ in range(2)]
        for name, paths in files.items()
    }


class Features:
    """What the clips of a split are made of, and the vectors of what they are called."""

    def __init__(self, model: trine.Embedder, arguments: argparse.Namespace, split: str, texts: dict[str, torch.Tensor]) -> None:
        data, corpus, work = Path(arguments.data), Path(arguments.corpus), Path(arguments.work)
        self.photos = cached(work / f"photos-{split}.pt", lambda: photo_vectors(model, data, split))
        self.sounds = cached(work / f"sounds-{split}.pt", lambda: sound_takes(model, data, split))
        self.spoken = cached(work / f"spoken-{split}.pt", lambda: spoken_takes(model, corpus, split))
        self.texts = texts
        self.products = sorted(set(self.photos) & set(self.spoken))

    def steps(self, clip: video_clips.Clip, chance: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """One showing of a clip: frames and sound, (T, D) each."""
        frames: list[torch.Tensor] = []
        heard: list[tuple[int, torch.Tensor]] = []  # the frame before the scene, and a take
        for scene in clip.scenes:
            count = frames_of(chance.uniform(*SCENE), chance.uniform(0, STEP))
            takes = self.sounds[scene.sound] if scene.sound else self.spoken[scene.said] if scene.said >= 0 else []
            if takes:
                heard.append((len(frames) - 1, chance.choice(takes)))
                count = len(heard[-1][1]) - 2
            photos = self.photos[scene.product]
            first, second = photos[chance.randrange(len(photos))], photos[chance.randrange(len(photos))]
            turn = count if chance.random() < 0.7 else chance.randrange(1, count)  # some scenes have two photos
            frames += [first] * turn + [second] * (count - turn)
        sound = torch.zeros(len(frames), len(frames[0]))
        for start, rows in heard:
            for i, row in enumerate(rows, start):  # two scenes' sounds that meet: the later one is heard
                if 0 <= i < len(frames) and row.any():
                    sound[i] = row
        return torch.stack(frames), sound

    def batch(self, clips: list[video_clips.Clip], chance: random.Random) -> dict[str, torch.Tensor]:
        """The arguments of VideoUnderstanding."""
        shown = [self.steps(clip, chance) for clip in clips]
        longest = max(len(f) for f, _ in shown)
        pad = lambda x: F.pad(x, (0, 0, 0, longest - len(x)))  # noqa: E731
        captions = [c.caption for c in clips]
        blank = torch.zeros_like(shown[0][0][0])
        return {
            "frames": torch.stack([pad(f) for f, _ in shown]),
            "audio": torch.stack([pad(s) for _, s in shown]),
            "mask": torch.stack([torch.arange(longest) < len(f) for f, _ in shown]),
            "transcript": torch.stack(
                [self.texts[video_clips.CAPTIONS[c][0]] if c >= 0 else blank for c in captions]
            ).unsqueeze(1),
            "transcript_mask": torch.tensor([[c >= 0] for c in captions]),
        }


def draw_clips(count: int, seed: int, titles: list[str], products: list[int]) -> list[video_clips.Clip]:
    chance = random.Random(seed)
    return [video_clips.draw(chance, titles, products) for _ in range(count)]


def with_mean(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same without time: every step holds the mean over the clip."""
    weight = inputs["mask"].unsqueeze(-1).float()
    mean = lambda x: ((x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)).expand_as(x) * weight  # noqa: E731
    return {**inputs, "frames": mean(inputs["frames"]), "audio": mean(inputs["audio"])}


def new_network(dim: int) -> trine.VideoUnderstanding:
    torch.manual_seed(0)
    return trine.VideoUnderstanding(frame_dim=dim, audio_dim=dim, text_dim=dim, hidden_dim=128, out_dim=dim, num_heads=4)


def train(features: Features, clips: list, val: tuple[Features, list], steps: int, batch: int, prepare=lambda x: x):
    network = new_network(384)
    scale = torch.nn.Parameter(torch.tensor(math.log(20.0)))
    optimiser = torch.optim.AdamW([*network.parameters(), scale], lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    chance, began = random.Random(7), time.monotonic()
    for step in range(steps):
        chosen = [clips[chance.randrange(len(clips))] for _ in range(batch)]
        right = torch.stack([features.texts[c.description] for c in chosen])
        wrong = torch.stack([features.texts[d] for c in chosen for d in c.differing])
        video, _ = network(**prepare(features.batch(chosen, chance)))
        factor = scale.exp().clamp(max=200.0)
        target = torch.arange(batch)
        loss = F.cross_entropy(factor * video @ torch.cat([right, wrong]).T, target)
        loss = (loss + F.cross_entropy(factor * right @ video.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            network.eval()
            figures = evaluate(*val, lambda inputs: network(**prepare(inputs))[0])
            network.train()
            print(json.dumps({"step": step + 1, "loss": round(loss.item(), 3), "scale": round(factor.item(), 1),
                              "seconds": round(time.monotonic() - began), **brief(figures)}), file=sys.stderr, flush=True)  # fmt: skip
    return network.eval()


@torch.no_grad()
def evaluate(features: Features, clips: list, embed, candidates: int = 100) -> dict[str, list[int]]:
    """{what: [right, of]}: the description first among `candidates`, those that differ in one thing among them; and right
    against each kind of those alone."""
    chance = random.Random(11)
    figures: dict[str, list[int]] = {}

    def count(what: str, right: bool) -> None:
        cell = figures.setdefault(what, [0, 0])
        cell[0] += int(right)
        cell[1] += 1

    for start in range(0, len(clips), 200):
        part = clips[start : start + 200]
        for clip, vector in zip(part, embed(features.batch(part, chance))):
            others = [c.description for c in chance.sample(clips, candidates)]
            texts = [clip.description, *clip.differing, *(o for o in others if o != clip.description)][:candidates]
            scores = torch.stack([features.texts[t] for t in texts]) @ vector
            first = bool((scores[0] > scores[1:]).all())
            count("R@1", first)
            count(f"R@1 {clip.kind}", first)
            if clip.differing:
                count("against the reverse", bool(scores[0] > scores[1]))
            if len(clip.differing) > 1:
                count(f"against the {clip.kind} elsewhere", bool(scores[0] > scores[2]))
    return figures


def brief(figures: dict[str, list[int]]) -> dict[str, float]:
    return {what: round(right / of, 3) for what, (right, of) in sorted(figures.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "corpus", "work", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--without-time", action="store_true", help="instead train the same network on each clip's mean, to compare")
    arguments = parser.parse_args()
    work = Path(arguments.work)
    work.mkdir(parents=True, exist_ok=True)

    model = trine.Embedder()
    titles = [p.title for p in trine.read_catalogue(model.directory / "catalogue.jsonl")]
    texts: dict[str, torch.Tensor] = {}
    features = {split: Features(model, arguments, split, texts) for split in ("train", "val")}
    clips = {
        "train": draw_clips(arguments.clips, 1, titles, features["train"].products),
        "val": draw_clips(200, 2, titles, features["val"].products),
    }
    known = sorted({t for part in clips.values() for c in part for t in (c.description, *c.differing)}
                   | {caption for caption, _ in video_clips.CAPTIONS})  # fmt: skip
    texts.update(zip(known, cached(work / f"texts-{arguments.clips}.pt", lambda: model.embed_text(known))))
    prepare = with_mean if arguments.without_time else lambda x: x
    train(features["train"], clips["train"], (features["val"], clips["val"]), arguments.steps, arguments.batch, prepare).save(arguments.out)


if __name__ == "__main__":
    main()
