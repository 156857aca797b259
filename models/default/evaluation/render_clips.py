#!/usr/bin/env python3
"""Renders made-up clips to video files and writes the manifests that `trine evaluate --task video` measures them with.

    python models/default/evaluation/render_clips.py DATA CORPUS OUT [--split val] [--count 500]

Clips are drawn as ../train/video_clips.py does, from photos, spoken names and sounds of the split: test photos, the speaker slt
and ESC-10 fold 5 (val: its photos and voices, fold 4). OUT gets videos.jsonl; videos-told-otherwise.jsonl, other clips told in
sentences of a form that training lacks; and, of the first ones, videos-silent.jsonl without their sound and
videos-uncaptioned.jsonl without their captions. Seeded, resumable. Needs ffmpeg (of the PATH, or imageio-ffmpeg).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from make_manifests import FOLD, HERE, read_lines, write_lines

sys.path += [str(HERE.parent / "train"), str(HERE.parents[2] / "examples/find_in_video")]
import make_slideshow  # noqa: E402
import video_clips  # noqa: E402

Media = dict[object, list[Path]]


def media_of(data: Path, corpus: Path, split: str) -> tuple[Media, Media, Media]:
    """Files: photos and spoken names by product, sounds by name."""
    photos: Media = {}
    with open(data / "grocery" / f"{split}.csv", newline="") as file:
        for row in csv.DictReader(file):
            photos.setdefault(int(row["product_id"]), []).append(data / "grocery" / row["path"])
    spoken: Media = {}
    for row in read_lines(corpus / "manifest.jsonl"):
        if row["split"] == split and row["set"] == "products" and row["label"] is not None:
            spoken.setdefault(int(row["label"]), []).append(corpus / row["audio"])
    sounds = {name: sorted((data / "sounds_esc10" / name).glob(f"{FOLD[split]}-*")) for name in video_clips.SOUNDS}
    return photos, spoken, sounds


def scenes_of(clip: video_clips.Clip, media: tuple[Media, Media, Media], chance: random.Random) -> list[str]:
    """As make_slideshow.py takes them."""
    photos, spoken, sounds = media
    scenes = []
    for scene in clip.scenes:
        sound = chance.choice(sounds[scene.sound]) if scene.sound else ""
        sound = chance.choice(spoken[scene.said]) if scene.said >= 0 else sound
        caption = video_clips.CAPTIONS[clip.caption][0] if clip.caption >= 0 else ""
        scenes.append(f"{chance.choice(photos[scene.product])}={caption}={sound}")
    return scenes


def line_of(clip: video_clips.Clip, titles: list[str], file: Path) -> dict:
    shows = [
        {"text": titles[product], "start": i * make_slideshow.SECONDS, "end": (i + 1) * make_slideshow.SECONDS}
        for i, scene in enumerate(clip.scenes)
        for product in dict.fromkeys((scene.product, scene.said))
        if product >= 0
    ]
    unlike = dict(zip(("told backwards", f"{clip.kind} elsewhere"), clip.differing))
    return {"video": str(file), "text": clip.description, "unlike": unlike, "set": f"tells of {clip.kind}", "shows": shows}


def written(file: Path, write) -> None:
    """Beside it first, so that no half file stays."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name("new-" + file.name)
    write(beside)
    os.replace(beside, file)


def stripped(source: Path, streams: list[str]):
    command = [make_slideshow.ffmpeg(), "-loglevel", "error", "-y", "-i", str(source)]
    return lambda out: subprocess.run([*command, *(x for s in streams for x in ("-map", s)), "-c", "copy", str(out)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--count", type=int, default=500, help="clips of each of the two forms")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    titles = [row["title"] for row in read_lines(HERE.parent / "catalogue.jsonl")]
    media = media_of(options.data.resolve(), options.corpus.resolve(), options.split)
    products = sorted(set(media[0]) & set(media[1]))
    seed = {"val": 20, "test": 30}[options.split]
    for name, unseen in (("videos", False), ("videos-told-otherwise", True)):
        drawing, chance = random.Random(seed + unseen), random.Random(seed + 5 + unseen)
        clips = [video_clips.draw(drawing, titles, products, unseen) for _ in range(options.count)]
        files = [Path(name) / f"{i:04}.mkv" for i in range(options.count)]
        jobs = [(options.out / file, scenes_of(clip, media, chance)) for clip, file in zip(clips, files)]
        with ThreadPoolExecutor(options.jobs) as pool:
            made = pool.map(lambda job: written(job[0], lambda out: make_slideshow.main(str(out), *job[1])), jobs)
            for i, _ in enumerate(made):
                print(f"\r{name}: {i + 1}/{options.count}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        write_lines(options.out / f"{name}.jsonl", [line_of(c, titles, f) for c, f in zip(clips, files)])
        if unseen:
            continue
        for kind, streams in (("silent", ["0:v", "0:s?"]), ("uncaptioned", ["0:v", "0:a"])):
            changed = [Path(f"videos-{kind}") / file.name for file in files]
            for file, new in zip(files, changed):
                written(options.out / new, stripped(options.out / file, streams))
            write_lines(options.out / f"videos-{kind}.jsonl", [line_of(c, titles, f) for c, f in zip(clips, changed)])


if __name__ == "__main__":
    main()
