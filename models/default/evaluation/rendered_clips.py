"""The temporal model and VideoSearch on clips that are rendered to files and read back: test photos, the speaker slt, ESC-10 fold 5.

    python models/default/evaluation/rendered_clips.py --data ../shared/data --corpus DIR [--count 40]

Prints, as JSON, how often a file's vector is nearest to its own description among 100 (those that differ in one thing among
them), with and without the temporal model; and how often the best moment for the name of a product that a clip shows lies in
the scene that shows it. Needs ffmpeg (of the PATH, or imageio-ffmpeg).
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path += [str(ROOT / "models/default/train"), str(ROOT / "examples/find_in_video")]
import make_slideshow  # noqa: E402
import train_video  # noqa: E402
import video_clips  # noqa: E402

import trine  # noqa: E402


def files(data: Path, corpus: Path) -> tuple[dict, dict, dict]:
    photos: dict[int, list[Path]] = {}
    for row in csv.DictReader(open(data / "grocery" / "test.csv")):
        photos.setdefault(int(row["product_id"]), []).append(data / "grocery" / row["path"])
    spoken: dict[int, list[Path]] = {}
    for row in map(json.loads, open(corpus / "manifest.jsonl")):
        if row["split"] == "test" and row["set"] == "products" and row["label"] is not None:
            spoken.setdefault(int(row["label"]), []).append(corpus / row["audio"])
    sounds = {name: sorted((data / "sounds_esc10" / name).glob("5-*")) for name in video_clips.SOUNDS}
    return photos, spoken, sounds


def render(clip: video_clips.Clip, out: Path, photos: dict, spoken: dict, sounds: dict, chance: random.Random) -> None:
    scenes = []
    for scene in clip.scenes:
        sound = chance.choice(sounds[scene.sound]) if scene.sound else ""
        sound = chance.choice(spoken[scene.said]) if scene.said >= 0 else sound
        caption = video_clips.CAPTIONS[clip.caption][0] if clip.caption >= 0 else ""
        scenes.append(f"{chance.choice(photos[scene.product])}={caption}={sound}")
    make_slideshow.main(str(out), *scenes)


def row(what: str, hits: list[bool], chance: float) -> None:
    low, high = train_video.interval(sum(hits), len(hits))
    share = sum(hits) / len(hits)
    print(json.dumps({"figure": what, "share": round(share, 3), "interval": [round(low, 3), round(high, 3)],
                      "count": len(hits), "chance": round(chance, 3)}), flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    arguments = parser.parse_args()
    model = trine.Embedder()
    titles = [p.title for p in trine.read_catalogue(model.directory / "catalogue.jsonl")]
    media = files(arguments.data, arguments.corpus)
    clips = train_video.draw_clips(arguments.count + 97, 5, titles, sorted(media[0]))
    chance = random.Random(6)
    temporal, plain = trine.VideoSearch(model), trine.VideoSearch(model, temporal=None)
    first: dict[str, list[bool]] = {"with the temporal model": [], "without it": []}
    reverse: dict[str, list[bool]] = {name: [] for name in first}
    found, by_chance = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, clip in enumerate(clips[: arguments.count]):
            path = Path(folder) / f"{number}.mkv"
            render(clip, path, *media, chance)
            others = [c.description for c in clips if c.description != clip.description]
            texts = [clip.description, *clip.differing, *others][:100]
            vectors = model.embed_text(texts)
            for name, search in (("with the temporal model", temporal), ("without it", plain)):
                video = search.watch(path)
                scores = vectors @ video.vector
                first[name].append(bool((scores[0] > scores[1:]).all()))
                if clip.differing:
                    reverse[name].append(bool(scores[0] > scores[1]))
            for i, scene in enumerate(clip.scenes):
                moments = plain.find(video, titles[scene.product], k=1, min_score=0)
                right = [j for j, s in enumerate(clip.scenes) if scene.product in (s.product, s.said)]
                found.append(int(moments[0].best // make_slideshow.SECONDS) in right)
                by_chance.append(len(right) / len(clip.scenes))
            path.unlink()
            print(f"\r{number + 1} of {arguments.count} clips", end="", file=sys.stderr, flush=True)
    for name in first:
        row(f"own description first of 100, {name}", first[name], 0.01)
        row(f"own description before the reversed one, {name}", reverse[name], 0.5)
    row("best moment for a product's name shows or names it", found, sum(by_chance) / len(by_chance))


if __name__ == "__main__":
    main()
