"""What is embedded: sentences, photos and clips of the user, or such as are made here, the same on every machine."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import _trine

_THINGS = """bread milk apples coffee rice cheese tomatoes butter honey tea yoghurt onions carrots olives pasta soup shoes
jacket scarf gloves watch lamp chair table mirror carpet kettle blender drill ladder bicycle helmet tent backpack camera
headphones keyboard monitor printer charger tyre mattress pillow stroller puzzle guitar novel notebook candle""".split()
_LOOKS = """red green large small cheap heavy second-hand wooden organic broken missing ripe frozen waterproof foldable
striped round plain noisy late damaged handmade imported gluten-free rechargeable""".split()
_PLACES = """in the shop,at the station,on the second shelf,in my basket,at home,in the warehouse,near the entrance,in the
app,on the invoice,behind the counter,in the north of the town,on the website""".replace("\n", " ").split(",")
_TIMES = """yesterday,last Monday,this morning,two weeks ago,before the weekend,on the 14th of March,after lunch,since
April,at half past nine,for the third time""".replace("\n", " ").split(",")
_OPENINGS = """Where is,I would like to return,Do you still have,How much is,Please cancel,I cannot find,My neighbour
recommended,Can you repair,Tell me more about,Somebody delivered,We have sold out of,Is there a guarantee for,I paid twice
for,The customer asked about,Nobody needs,What goes well with""".replace("\n", " ").split(",")
_CLAUSES = """because the colour was not the one in the picture,although the receipt says otherwise,and the card was charged
all the same,so that it arrives before the holidays,which is what the manual recommends,if that is possible without a
fee,and I have written to you about it already,as my sister is allergic to nuts,while the other one works well,and the
price has gone up by 12 per cent,since the parcel came back unopened,unless there is a better offer""".replace(
    "\n", " "
).split(",")


def sentences(count: int = 600, seed: int = 0) -> list[str]:
    """Of customers, English, from three words to a hundred, short ones more often."""
    draw = random.Random(seed)

    def thing() -> str:
        looks = draw.sample(_LOOKS, draw.choice((0, 1, 1, 2)))
        return " ".join([draw.choice(("the", "a", "this", "our")), *looks, draw.choice(_THINGS)])

    def phrase() -> str:
        parts = [draw.choice(_OPENINGS), thing()]
        parts += [draw.choice(_PLACES)] * (draw.random() < 0.6) + [draw.choice(_TIMES)] * (draw.random() < 0.5)
        parts += [draw.choice(_CLAUSES) for _ in range(draw.choice((0, 0, 1, 2)))]
        return " ".join(part.strip() for part in parts)

    made: dict[str, None] = {}
    while len(made) < count:
        text = ". ".join(phrase() for _ in range(draw.choice((1, 1, 1, 1, 2, 2, 4))))
        made[text + draw.choice((".", "?", "!", ""))] = None
    return list(made)


def read_sentences(file: Path, limit: int = 600) -> list[str]:
    """The lines of a text file, or the first column of a .csv with a line of names; every n-th where there are more."""
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            if file.suffix == ".csv":
                found = [row[0].strip() for row in csv.reader(lines) if row][1:]
            else:
                found = [line.strip() for line in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"[bench] {file} is not UTF-8 text: {error}.") from None
    found = list(dict.fromkeys(line for line in found if line))
    if len(found) < 20:
        raise ValueError(f"[bench] wanted 20 different sentences or more in {file}, got {len(found)}.")
    return found[:: max(1, len(found) // limit)][:limit]


def picture(seed: int, width: int = 640, height: int = 480) -> np.ndarray:
    """Uint8 (height, width, 3): overlapping shapes over a gradient with blurred grain, as detailed as a photo."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    slope = draw.uniform(-0.3, 0.3, (2, 3))
    canvas = draw.uniform(60, 190, 3) + x[..., None] * slope[0] + y[..., None] * slope[1]
    for _ in range(24):
        centre, radius, turn = draw.uniform(0, (width, height)), draw.uniform(15, 130, 2), draw.uniform(0, np.pi)
        u = (x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn)
        v = (y - centre[1]) * np.cos(turn) - (x - centre[0]) * np.sin(turn)
        power = draw.choice((2, 8))  # an ellipse or nearly a rectangle
        inside = np.abs(u / radius[0]) ** power + np.abs(v / radius[1]) ** power < 1
        shade = 1 + 0.3 * np.sin(u / draw.uniform(2, 30) + v / draw.uniform(2, 30))
        canvas[inside] = (draw.uniform(0, 255, 3) * shade[..., None])[inside]
    grain = draw.normal(0, 9, (height, width)).astype(np.float32)
    grain = (grain + np.roll(grain, 1, 0) + np.roll(grain, 1, 1)) / 2
    return np.clip(canvas + grain[..., None], 0, 255).astype(np.uint8)


def photos(folder: Path | None, made_in: Path, count: int = 64) -> list[Path]:
    """JPEG files: of the folder, else such as are drawn."""
    if folder is not None:
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
        if not found:
            raise FileNotFoundError(f"[bench] There are no *.jpg in {folder}.")
        return found[:: max(1, len(found) // count)][:count]
    paths = [made_in / f"{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            path.write_bytes(_trine.encode_jpeg(picture(number), 90))
    return paths


def clip(seed: int, seconds: float = 30.0, rate: int = 16_000) -> np.ndarray:
    """Float32 (n): syllables of a voice with pauses and some noise."""
    draw = np.random.default_rng(seed)
    count = int(seconds * rate)
    t = np.arange(count, dtype=np.float32) / rate
    steps = max(2, int(seconds * 4))  # syllables
    every = np.linspace(0, seconds, steps)
    pitch = np.interp(t, every, draw.uniform(90, 260, steps))
    loud = np.interp(t, every, draw.uniform(0, 1, steps) * (draw.random(steps) > 0.25))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase) * w for k, w in enumerate(draw.uniform(0.1, 1, 12) / np.arange(1, 13), 1))
    return (0.25 * loud * voice + draw.normal(0, 0.01, count)).clip(-1, 1).astype(np.float32)


def clips(folder: Path | None, count: int = 32, rate: int = 16_000) -> list[np.ndarray]:
    """Samples: of the sounds in a folder, else such as are made."""
    if folder is None:
        return [clip(number, rate=rate) for number in range(count)]
    kinds = (".wav", ".flac", ".mp3", ".ogg")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in kinds)
    if not found:
        raise FileNotFoundError(f"[bench] There are no sounds ({', '.join(kinds)}) in {folder}.")
    return [_trine.read_audio(str(p), rate)[0] for p in found[:: max(1, len(found) // count)][:count]]


def repeated(items: list) -> Callable[[int], list]:
    """The first n of them, from the beginning again where there are fewer."""
    return lambda n: [items[i % len(items)] for i in range(n)]
