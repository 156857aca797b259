"""Draws damage, and harmless changes, onto photos: the synthetic pictures that the damage head is trained and tested on.

    python models/default/train/damage_pictures.py --photos ../shared/data/grocery --split train --out build/training/damage
    python models/default/train/damage_pictures.py --photos ../shared/data/grocery --split val --sheet build/sheet.png

Each split of the photos has its own renderers: train, val and test draw a tear, a dent, a stain, mould or a crushed corner
by different algorithms, so that a head that has learned one drawing is not taken for one that has learned damage. Half of
the pictures are intact: photos as they are, or with a harmless change (sticker, shadow, glare, blur, a pasted patch ...),
by other algorithms in each split too. All pictures, changed or not, are saved as JPEG of a random quality, so that neither
the copy nor its quality gives the answer away. Everything follows from the seed.

Needs NumPy and Pillow. `OUT/pictures.jsonl` has a line per picture, as `trine evaluate --task damage` reads it: image, label
("intact" or the damage), severity (0 to 1; its size and strength), set (the renderer), photo. `--sheet` draws a row of
examples of each renderer instead, to look at.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

TYPES = ("tear", "dent", "stain", "mould", "crushed corner")
INTACT = "intact"
Array = np.ndarray
Renderer = Callable[["Spot"], Array]

RENDERERS: dict[tuple[str, str], list[Renderer]] = {}  # by split and type


def draws(split: str, kind: str) -> Callable[[Renderer], Renderer]:
    def register(function: Renderer) -> Renderer:
        RENDERERS.setdefault((split, kind), []).append(function)
        return function

    return register


@dataclass
class Spot:
    """A place in a photo, with coordinates in units of its radius: turned (u along, v across), polar (d, angle)."""

    pixels: Array  # (H, W, 3) in 0 to 1
    rng: np.random.Generator
    x: float
    y: float
    radius: float  # px
    strength: float  # 0 to 1
    turn: float  # radians
    u: Array = field(init=False)
    v: Array = field(init=False)
    d: Array = field(init=False)
    angle: Array = field(init=False)

    def __post_init__(self) -> None:
        height, width = self.pixels.shape[:2]
        down, right = np.mgrid[:height, :width].astype(np.float32)
        right, down = (right - self.x) / self.radius, (down - self.y) / self.radius
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        self.u, self.v = right * cos + down * sin, down * cos - right * sin
        self.d, self.angle = np.hypot(self.u, self.v), np.arctan2(self.v, self.u)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def by_strength(self, low: float, high: float) -> float:
        return low + (high - low) * self.strength


# --- tools ------------------------------------------------------------------------------------------------------------


def smooth(x: Array, low: float, high: float) -> Array:
    """0 at `low`, 1 at `high` (either may be the larger), smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: np.random.Generator, shape: tuple[int, ...], cell: float, octaves: int = 1) -> Array:
    """Smooth noise in 0 to 1 whose coarsest grain is `cell` px."""
    height, width = shape[:2]
    total, weight = np.zeros((height, width), np.float32), 0.0
    for octave in range(octaves):
        size = max(cell / 2**octave, 1)
        grid = rng.random((int(height / size) + 2, int(width / size) + 2), dtype=np.float32)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) / 2**octave
        weight += 1 / 2**octave
    return np.clip(total / weight, 0, 1)


def jagged(rng: np.random.Generator, along: Array, knots: int, size: float) -> Array:
    """A broken line over -1.2 to 1.2 with that many knots."""
    return np.interp(along, np.linspace(-1.2, 1.2, knots), rng.uniform(-size, size, knots)).astype(np.float32)


def wavy(rng: np.random.Generator, angle: Array, waves: int, size: float) -> Array:
    """1 plus a random periodic function of the angle."""
    total = np.ones_like(angle)
    for k in range(1, waves + 1):
        total += size / np.sqrt(k) * rng.uniform(-1, 1) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.maximum(total, 0.25)


def sample(pixels: Array, x: Array, y: Array) -> Array:
    """The pixels at fractional places, bilinear, the border repeated."""
    height, width = pixels.shape[:2]
    x, y = np.clip(x, 0, width - 1.001), np.clip(y, 0, height - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    upper = pixels[top, left] * (1 - fx) + pixels[top, left + 1] * fx
    lower = pixels[top + 1, left] * (1 - fx) + pixels[top + 1, left + 1] * fx
    return upper * (1 - fy) + lower * fy


def shifted(spot: Spot, along: Array, across: Array) -> Array:
    """The photo seen through a displacement in units of the radius, in the turned axes."""
    height, width = spot.pixels.shape[:2]
    down, right = np.mgrid[:height, :width].astype(np.float32)
    cos, sin = np.cos(spot.turn), np.sin(spot.turn)
    return sample(
        spot.pixels,
        right + spot.radius * (along * cos - across * sin),
        down + spot.radius * (along * sin + across * cos),
    )


def lit(pixels: Array, height: Array, light: float, gain: float, radius: float) -> Array:
    """Light and shade of a height field in units of the radius, from the direction `light`."""
    down, right = np.gradient(height * radius)
    slope = right * np.cos(light) + down * np.sin(light)
    return np.clip(pixels * (1 + np.clip(gain * slope, -0.75, 0.9))[..., None], 0, 1)


def painted(pixels: Array, colour: Array | tuple[float, ...], alpha: Array) -> Array:
    return pixels * (1 - alpha[..., None]) + np.asarray(colour, np.float32) * alpha[..., None]


def tinted(pixels: Array, colour: Array | tuple[float, ...], alpha: Array) -> Array:
    """As a transparent liquid does: the photo times the colour."""
    return pixels * (1 - alpha[..., None] * (1 - np.asarray(colour, np.float32)))


def blurred(field: Array, radius: float) -> Array:
    """A box blur of a field or picture, twice."""
    reach = max(int(round(radius)), 1)
    for axis in (0, 1, 0, 1):
        padded = np.concatenate([np.repeat(field.take([0], axis), reach + 1, axis), field,
                                 np.repeat(field.take([-1], axis), reach, axis)], axis)
        sums = padded.cumsum(axis, dtype=np.float64)
        window = 2 * reach + 1
        field = ((sums.take(range(window, sums.shape[axis]), axis) - sums.take(range(sums.shape[axis] - window), axis))
                 / window).astype(np.float32)
    return field


def cells(spot: Spot, count: int, reach: float = 1.2) -> tuple[Array, Array]:
    """Voronoi cells around the spot: the number of the nearest of `count` random points, and how near a border is."""
    points = spot.rng.uniform(-reach, reach, (count, 2)).astype(np.float32)
    distance = np.hypot(spot.u[..., None] - points[:, 0], spot.v[..., None] - points[:, 1])
    order = np.partition(distance, 1, axis=-1)
    return distance.argmin(-1), order[..., 1] - order[..., 0]


def walks(rng: np.random.Generator, count: int, steps: int, step: float, bend: float, start: float) -> Array:
    """Points (count, steps, 2) of paths that bend at random, beginning within `start` of the origin."""
    heading = rng.uniform(0, 2 * np.pi, (count, 1)) + np.cumsum(rng.normal(0, bend, (count, steps)), 1)
    moves = step * np.stack([np.cos(heading), np.sin(heading)], -1)
    begin = rng.uniform(-start, start, (count, 1, 2))
    return begin + np.cumsum(moves, 1)


def traced(spot: Spot, points: Array, width: float) -> Array:
    """How much of each pixel lies under a brush that visits the points (in units of the radius)."""
    height, columns = spot.pixels.shape[:2]
    cos, sin = np.cos(spot.turn), np.sin(spot.turn)
    flat = points.reshape(-1, 2)
    x = spot.x + spot.radius * (flat[:, 0] * cos - flat[:, 1] * sin)
    y = spot.y + spot.radius * (flat[:, 0] * sin + flat[:, 1] * cos)
    inside = (x >= 0) & (x < columns - 1) & (y >= 0) & (y < height - 1)
    hits = np.zeros((height, columns), np.float32)
    np.add.at(hits, (y[inside].astype(int), x[inside].astype(int)), 1)
    return np.clip(blurred(hits, width) * (2 * width + 1) ** 2 * 0.8, 0, 1)


def reddish_brown(spot: Spot) -> Array:
    return np.array([spot.between(0.35, 0.65), spot.between(0.2, 0.42), spot.between(0.05, 0.22)], np.float32)


# --- tears ------------------------------------------------------------------------------------------------------------


@draws("train", "tear")
def rip(s: Spot) -> Array:
    """A long jagged opening, dark inside, white fibres along its edge."""
    line = jagged(s.rng, s.u, 9, 0.18) + jagged(s.rng, s.u, 30, 0.05)
    half = s.by_strength(0.07, 0.25) * np.sqrt(np.clip(1 - s.u**2, 0, 1)) + jagged(s.rng, s.u, 24, 0.03)
    across = np.where(np.abs(s.u) < 1, np.abs(s.v - line) - half, 9)
    edge = 3.0 / s.radius
    fibres = smooth(across, edge * s.between(0.8, 1.8), 0) * (0.6 + 0.4 * noise(s.rng, s.u.shape, 2))
    pixels = painted(s.pixels, (0.93, 0.91, 0.87), fibres)
    inside = s.between(0.02, 0.2) * (0.6 + 0.8 * noise(s.rng, s.u.shape, 8, 2))
    return painted(pixels, inside[..., None] * np.array([1, 0.92, 0.82]), smooth(across, 0.6 / s.radius, -0.6 / s.radius))


@draws("train", "tear")
def hole(s: Spot) -> Array:
    """A ragged hole in which cardboard or darkness shows, and the flap that was torn off beside it."""
    edge = 0.55 * wavy(s.rng, s.angle, 14, 0.22)
    depth = s.d - edge
    colour = np.array([(0.62, 0.48, 0.32), (0.1, 0.08, 0.07), (0.78, 0.76, 0.72)][s.rng.integers(3)])
    texture = 0.65 + 0.5 * noise(s.rng, s.u.shape, 5, 3)
    flap = shifted(s, -2 * np.clip(s.u - 0.45, 0, 1), np.zeros_like(s.u))
    on_flap = smooth(np.maximum(np.abs(s.v) - 0.4 * (1.1 - s.u), -s.u + 0.4), 0.03, -0.02) * (s.u < 1.1)
    pixels = painted(s.pixels, 0.45 * flap + 0.5 * np.array([0.95, 0.93, 0.9]), on_flap * s.by_strength(0.6, 1))
    pixels = painted(pixels, (0.92, 0.9, 0.86), smooth(depth, 2.5 / s.radius, 0))
    shade = 0.55 + 0.45 * smooth(-depth, 0, 0.25)
    return painted(pixels, colour * (texture * shade)[..., None], smooth(depth, 0.6 / s.radius, -0.6 / s.radius))


@draws("train", "tear")
def peel(s: Spot) -> Array:
    """A strip pulled off, ragged at its ends: pale layers with a grain along the strip."""
    ends = 0.9 + jagged(s.rng, s.v * 3, 12, 0.12)
    sides = s.by_strength(0.14, 0.4) * (1 + 0.3 * s.u) + jagged(s.rng, s.u, 16, 0.03)
    out = np.maximum(np.abs(s.u) - ends, np.abs(s.v) - sides)
    grain = noise(s.rng, s.u.shape, 3, 2) * 0.25 + 0.7
    layer = smooth(out, 0.01, -0.12)
    colour = np.array([s.between(0.75, 0.95), s.between(0.7, 0.9), s.between(0.6, 0.85)])
    pixels = painted(s.pixels, (0.15, 0.13, 0.12), smooth(out, 3 / s.radius, 0) * 0.5)
    return painted(pixels, colour * (grain * (0.8 + 0.2 * layer))[..., None], smooth(out, 0.6 / s.radius, -0.6 / s.radius))


@draws("val", "tear")
def slit(s: Spot) -> Array:
    """Two or three cuts that gape, with one lip raised."""
    pixels = s.pixels
    for _ in range(s.rng.integers(2, 4)):
        offset, tilt = s.between(-0.5, 0.5), s.between(-0.4, 0.4)
        line = offset + tilt * s.u + 0.1 * np.sin(s.u * s.between(2, 5))
        gap = s.by_strength(0.03, 0.13) * np.clip(1 - (s.u / s.between(0.7, 1)) ** 4, 0, 1)
        across = s.v - line
        pixels = painted(pixels, (0.95, 0.95, 0.93), smooth(across, gap + 0.09, gap) * (across > 0) * (gap > 0) * 0.8)
        pixels = painted(pixels, (0.06, 0.05, 0.06), smooth(np.abs(across), gap, gap * 0.7 - 1e-3) * (gap > 0))
    return pixels


@draws("test", "tear")
def gash(s: Spot) -> Array:
    """A wedge that opens to one side: what lies behind is other, darker content; sawtooth edges."""
    open_at = np.clip((s.u + 1) / 2, 0, 1) * (np.abs(s.u) < 1)
    saw = 0.05 * ((s.u * 7 + s.between(0, 1)) % 1)
    bend = s.between(-0.3, 0.3) * s.u**2
    across = np.abs(s.v - bend) - s.by_strength(0.15, 0.5) * open_at**1.5 - saw * (open_at > 0)
    across = np.where((open_at > 0) & (s.u < 0.98), across, 9)
    behind = np.roll(s.pixels, (int(s.radius * 2), int(s.radius * 1.5)), (0, 1)) * s.between(0.15, 0.45)
    cast = smooth(-across, 0, 0.3)
    pixels = painted(s.pixels, (0.88, 0.87, 0.84), smooth(across, 0.07, 0.02))
    return painted(pixels, behind * (0.4 + 0.6 * cast)[..., None], smooth(across, 0.01, -0.01))


@draws("test", "tear")
def shreds(s: Spot) -> Array:
    """Branching cracks with pale lips."""
    paths = walks(s.rng, int(s.by_strength(3, 8)), 120, 0.012, 0.16, 0.15)
    width = max(1.0, s.radius * s.by_strength(0.01, 0.035))
    lips = traced(s, paths + 0.02, width + 1)
    return painted(painted(s.pixels, (0.9, 0.88, 0.83), lips * 0.8), (0.08, 0.06, 0.05), traced(s, paths, width))


# --- dents ------------------------------------------------------------------------------------------------------------


@draws("train", "dent")
def pressed(s: Spot) -> Array:
    """A round hollow: the photo drawn together in it, lit from one side."""
    d = s.d / wavy(s.rng, s.angle, 4, 0.12)
    hollow = -np.exp(-((d / 0.55) ** 2)) * s.by_strength(0.25, 0.6)
    pull = 0.5 * hollow
    pixels = shifted(s, -s.u * pull, -s.v * pull)
    return lit(pixels, hollow, s.between(0, 2 * np.pi), s.by_strength(0.7, 1.4), s.radius)


@draws("train", "dent")
def creased(s: Spot) -> Array:
    """A long sharp-bottomed furrow."""
    line = 0.25 * np.sin(s.u * s.between(1, 3)) + jagged(s.rng, s.u, 7, 0.06)
    span = np.clip(1 - s.u**2, 0, 1)
    depth = s.by_strength(0.15, 0.4)
    furrow = -depth * span * np.exp(-np.abs(s.v - line) / s.between(0.12, 0.3))
    pixels = shifted(s, np.zeros_like(s.u), 0.4 * furrow * np.sign(s.v - line))
    return lit(pixels, furrow, s.turn + np.pi / 2 + s.between(-0.6, 0.6), s.by_strength(0.6, 1.1), s.radius)


@draws("train", "dent")
def caved(s: Spot) -> Array:
    """A hollow with a flat bottom and a hard rim."""
    d = (np.abs(s.u) ** 3 + np.abs(s.v * s.between(1, 1.8)) ** 3) ** (1 / 3) / wavy(s.rng, s.angle, 5, 0.1)
    hollow = -s.by_strength(0.15, 0.35) * smooth(d, 0.9, s.between(0.45, 0.7))
    pixels = shifted(s, -s.u * hollow * 0.5, -s.v * hollow * 0.5)
    light = s.between(0, 2 * np.pi)
    pixels = lit(pixels, hollow, light, s.by_strength(0.8, 1.5), s.radius)
    return np.clip(pixels * (1 + 0.35 * hollow)[..., None], 0, 1)


@draws("val", "dent")
def facetted(s: Spot) -> Array:
    """Sheet metal pressed into flat facets."""
    number, border = cells(s, int(s.by_strength(6, 12)), 0.9)
    inside = smooth(s.d, 1, 0.75)
    tone = s.rng.uniform(-1, 1, 12)[number % 12] * s.by_strength(0.2, 0.45)
    shift = s.rng.uniform(-0.12, 0.12, (12, 2))[number % 12] * inside[..., None]
    pixels = shifted(s, shift[..., 0], shift[..., 1])
    pixels = np.clip(pixels * (1 + tone * inside)[..., None], 0, 1)
    return painted(pixels, (0.95, 0.95, 0.95), smooth(border, 0.05, 0) * inside * 0.35)


@draws("test", "dent")
def buckled(s: Spot) -> Array:
    """Ripples that die away from a line, as a can shows them."""
    fade = np.exp(-((s.u / 0.6) ** 2)) * np.exp(-np.abs(s.v) / 0.5)
    waves = np.cos(s.v * s.between(7, 11) + s.between(-1, 1) * s.u**2) * fade * s.by_strength(0.07, 0.2)
    pixels = shifted(s, 0.2 * waves, 0.9 * waves)
    return lit(pixels, waves, s.turn + np.pi / 2 + s.between(-0.4, 0.4), s.by_strength(0.6, 1.2), s.radius)


@draws("test", "dent")
def knocked(s: Spot) -> Array:
    """A half-moon: pressed in steeply on one side, flat on the other, with a highlight on the rim."""
    d = np.hypot(s.u, s.v * 1.3)
    height = -s.by_strength(0.2, 0.5) * np.clip(1 - d**2, 0, 1) ** 0.5 * smooth(s.u, -0.9, 0.7)
    pixels = shifted(s, height * 0.5, 0 * height)
    pixels = lit(pixels, blurred(height, 1.5), s.turn + np.pi * s.rng.integers(2), s.by_strength(0.5, 0.9), s.radius)
    rim = np.exp(-(((d - 0.97) / 0.07) ** 2)) * smooth(s.u, 0, 0.6)
    return painted(pixels, (1, 1, 0.97), rim * s.by_strength(0.2, 0.5))


# --- stains -----------------------------------------------------------------------------------------------------------


@draws("train", "stain")
def spill(s: Spot) -> Array:
    """A dried puddle: transparent, darkest at its rim."""
    d = s.d / wavy(s.rng, s.angle, 8, 0.25) + 0.25 * (noise(s.rng, s.u.shape, s.radius / 2, 3) - 0.5)
    body, rim = smooth(d, 0.75, 0.7), np.exp(-(((d - 0.7) / 0.05) ** 2))
    return tinted(s.pixels, reddish_brown(s), np.clip(body * s.by_strength(0.35, 0.75) + 0.4 * rim, 0, 1))


@draws("train", "stain")
def splatter(s: Spot) -> Array:
    """Opaque drops of all sizes."""
    colour = [reddish_brown(s), np.array([0.5, 0.06, 0.08]), np.array([0.16, 0.12, 0.1])][s.rng.integers(3)]
    alpha = np.zeros_like(s.u)
    for _ in range(int(s.by_strength(8, 24))):
        x, y = s.rng.normal(0, 0.42, 2)
        size = 0.03 + 0.17 * s.rng.random() ** 3
        blob = np.hypot(s.u - x, s.v - y) / wavy(s.rng, np.arctan2(s.v - y, s.u - x), 4, 0.2)
        alpha = np.maximum(alpha, smooth(blob, size, size * 0.75))
    return painted(s.pixels, colour, alpha * s.by_strength(0.65, 0.95))


@draws("train", "stain")
def soaked(s: Spot) -> Array:
    """Grease or water: a dark, uneven patch without a hard border."""
    cloud = noise(s.rng, s.u.shape, s.radius * 0.6, 4)
    alpha = smooth(cloud - 0.6 * (s.d - 0.6), 0.35, 0.75)
    colour = np.array([s.between(0.45, 0.7), s.between(0.4, 0.65), s.between(0.3, 0.6)])
    return tinted(s.pixels, colour, alpha * s.by_strength(0.55, 1))


@draws("val", "stain")
def drips(s: Spot) -> Array:
    """Runs of a liquid from a common edge."""
    alpha = smooth(np.hypot(s.u * 1.1, (s.v + 0.5) * 2.2) / wavy(s.rng, s.angle, 6, 0.15), 0.75, 0.7)
    for _ in range(s.rng.integers(3, 8)):
        x, length, width = s.between(-0.6, 0.6), s.between(0.1, 1.2), s.between(0.04, 0.09)
        run = np.where((s.v > -0.6) & (s.v < length), np.abs(s.u - x - 0.02 * np.sin(s.v * 9)), 9)
        alpha = np.maximum(alpha, smooth(run, width, width * 0.7))
        alpha = np.maximum(alpha, smooth(np.hypot(s.u - x, s.v - length), width * 1.5, width * 1.2))
    colour = [(0.42, 0.2, 0.05), (0.55, 0.1, 0.12), (0.3, 0.28, 0.08)][s.rng.integers(3)]
    return painted(s.pixels, colour, alpha * s.by_strength(0.5, 0.9))


@draws("test", "stain")
def rings(s: Spot) -> Array:
    """Rings that a wet bottle left."""
    alpha = np.zeros_like(s.u)
    for _ in range(s.rng.integers(1, 4)):
        x, y, size = s.between(-0.3, 0.3), s.between(-0.3, 0.3), s.between(0.4, 0.7)
        d, angle = np.hypot(s.u - x, s.v - y), np.arctan2(s.v - y, s.u - x)
        thick = 0.06 * wavy(s.rng, angle, 5, 0.5)
        ring = np.exp(-np.abs((d - size) / thick) ** 3) * (0.6 + 0.4 * np.cos(angle + s.between(0, 6)))
        alpha = np.clip(alpha + ring + 0.25 * smooth(d, size, size - 0.02), 0, 1)
    return tinted(s.pixels, (s.between(0.25, 0.5), s.between(0.12, 0.3), s.between(0.1, 0.25)), alpha * s.by_strength(0.6, 1))


@draws("test", "stain")
def smear(s: Spot) -> Array:
    """A sauce wiped along: streaks that thin out."""
    streaks = np.interp(s.v, np.linspace(-1.2, 1.2, 40), s.rng.random(40)).astype(np.float32)
    reach = 0.4 + 0.6 * streaks
    along = smooth(s.u, reach, reach - 0.5) * smooth(s.u, -1, -0.9) * smooth(np.abs(s.v), 0.4, 0.3)
    colour = [(0.6, 0.12, 0.04), (0.24, 0.13, 0.07), (0.65, 0.45, 0.05)][s.rng.integers(3)]
    return painted(s.pixels, colour, along * smooth(streaks, 0.1, 0.5) * s.by_strength(0.5, 0.9))


# --- mould ------------------------------------------------------------------------------------------------------------


@draws("train", "mould")
def spots(s: Spot) -> Array:
    """Fuzzy grey-green spots with white fringes."""
    pixels, fur = s.pixels, noise(s.rng, s.u.shape, 2.5, 2)
    for _ in range(int(s.by_strength(4, 16))):
        x, y = s.rng.normal(0, 0.4, 2)
        size = s.between(0.08, 0.3)
        d = np.hypot(s.u - x, s.v - y) / size + 0.5 * (fur - 0.5)
        green = np.array([s.between(0.3, 0.5), s.between(0.42, 0.58), s.between(0.35, 0.5)])
        pixels = painted(pixels, (0.88, 0.9, 0.86), smooth(d, 1.3, 0.8) * 0.8)
        pixels = painted(pixels, green * (0.7 + 0.5 * fur)[..., None], smooth(d, 0.9, 0.5) * s.by_strength(0.5, 0.95))
    return pixels


@draws("train", "mould")
def carpet(s: Spot) -> Array:
    """A furry carpet: white, with islands of green or blue-grey."""
    cloud = noise(s.rng, s.u.shape, s.radius * 0.5, 4) - 0.55 * (s.d - 0.7)
    fur = noise(s.rng, s.u.shape, 2, 1)
    tone = [np.array([0.35, 0.45, 0.35]), np.array([0.4, 0.47, 0.52]), np.array([0.3, 0.3, 0.28])][s.rng.integers(3)]
    alpha = smooth(cloud + 0.25 * (fur - 0.5), 0.42, 0.62)
    pixels = painted(s.pixels, np.array([0.85, 0.86, 0.82]) * (0.75 + 0.4 * fur)[..., None], alpha * s.by_strength(0.6, 0.95))
    return painted(pixels, tone * (0.6 + 0.7 * fur)[..., None], smooth(cloud, 0.6, 0.75) * s.by_strength(0.6, 0.9))


@draws("train", "mould")
def specks(s: Spot) -> Array:
    """Dust of many small dark or pale specks, densest in the middle."""
    points = s.rng.normal(0, s.between(0.25, 0.45), (int(s.by_strength(40, 260)), 2))
    colour = [(0.12, 0.15, 0.12), (0.85, 0.87, 0.83), (0.25, 0.35, 0.3)][s.rng.integers(3)]
    haze = smooth(s.d + 0.5 * (noise(s.rng, s.u.shape, 6, 2) - 0.5), 0.9, 0.1) * s.by_strength(0.1, 0.45)
    pixels = painted(s.pixels, (0.72, 0.75, 0.7), haze)
    return painted(pixels, colour, traced(s, points, 1) * s.by_strength(0.5, 0.95))


@draws("val", "mould")
def lawn(s: Spot) -> Array:
    """Voronoi colonies with pale borders."""
    number, border = cells(s, int(s.by_strength(15, 40)), 1)
    grown = (s.rng.random(64)[number % 64] < 0.7) * smooth(s.d, 1, 0.8)
    fur = noise(s.rng, s.u.shape, 1.5, 1)
    green = np.array([0.28, 0.4, 0.36]) * (0.6 + 0.8 * fur)[..., None]
    pixels = painted(s.pixels, (0.9, 0.91, 0.88), grown * smooth(border, 0.25, 0.05) * 0.85)
    return painted(pixels, green, grown * smooth(border, 0.05, 0.3) * s.by_strength(0.5, 0.9))


@draws("test", "mould")
def colonies(s: Spot) -> Array:
    """Cells that grow at random from a few seeds: old ones blue-green, the youngest white."""
    size = 48
    age = np.zeros((size, size), np.float32)
    for _ in range(s.rng.integers(2, 6)):
        age[tuple(s.rng.integers(size // 4, 3 * size // 4, 2))] = 1
    for _ in range(int(s.by_strength(7, 15))):
        near = np.maximum.reduce([np.roll(age, shift, axis) for axis in (0, 1) for shift in (-1, 1)]) > 0
        age += (age > 0) + ((age == 0) & near & (s.rng.random(age.shape) < 0.55))
    column, row = ((s.u + 1) / 2 * (size - 1)), ((s.v + 1) / 2 * (size - 1))
    outside = (np.abs(s.u) > 1) | (np.abs(s.v) > 1)
    grown = np.where(outside, 0, sample(np.repeat(age[..., None], 3, 2), column, row)[..., 0])
    grain = 0.75 + 0.5 * s.rng.random(s.u.shape)
    pixels = painted(s.pixels, np.array([0.86, 0.88, 0.88]) * grain[..., None], smooth(grown, 0.2, 1) * 0.85)
    return painted(pixels, np.array([0.25, 0.42, 0.45]) * grain[..., None], smooth(grown, 2.5, 6) * s.by_strength(0.6, 0.95))


@draws("test", "mould")
def cotton(s: Spot) -> Array:
    """Threads of a white web over grey down."""
    threads = traced(s, walks(s.rng, int(s.by_strength(30, 110)), 60, 0.02, 0.25, 0.3), 1)
    down = smooth(blurred(threads, s.radius / 6), 0.05, 0.5)
    pixels = painted(s.pixels, (0.68, 0.7, 0.68), down * s.by_strength(0.3, 0.7))
    return painted(pixels, (0.92, 0.93, 0.92), threads * s.by_strength(0.5, 0.85))


# --- crushed corners --------------------------------------------------------------------------------------------------


@draws("train", "crushed corner")
def folded(s: Spot) -> Array:
    """A corner bent over along a line: where it was the ground shows, its content lies mirrored and shaded beside it."""
    corner = s.by_strength(0.7, 1.1)
    line = (s.u + s.v - corner) / np.sqrt(2) + jagged(s.rng, (s.u - s.v) / 2, 6, 0.04)
    ground = blurred(np.roll(s.pixels, int(s.radius), 0), s.radius / 4) * s.between(0.3, 0.9)
    gone = smooth(np.maximum(s.u, s.v) - corner, 0.02, -0.02) * smooth(line, 0, 0.02)
    mirrored_u, mirrored_v = s.u - np.sqrt(2) * line, s.v - np.sqrt(2) * line
    flap = smooth(np.maximum(mirrored_u, mirrored_v) - corner, 0.02, -0.02) * smooth(line, 0, -0.02)
    pixels = painted(s.pixels, ground, gone)
    pixels = painted(pixels, shifted(s, -np.sqrt(2) * line, -np.sqrt(2) * line) * s.between(0.5, 0.85), flap)
    return painted(pixels, (0.97, 0.96, 0.93), np.exp(-((line / 0.03) ** 2)) * np.maximum(flap, gone) * 0.8)


@draws("train", "crushed corner")
def crumpled(s: Spot) -> Array:
    """Creases that run together in a corner; facets between them alternate in light; the content shrinks towards it."""
    count = s.rng.integers(6, 12)
    borders = np.sort(s.rng.uniform(-np.pi, np.pi, count))
    bent = s.angle + 0.25 * (noise(s.rng, s.u.shape, s.radius / 2, 2) - 0.5)
    number = np.searchsorted(borders, bent) % count
    fade = smooth(s.d, 1, 0.4)
    tone = (s.rng.uniform(0.1, 0.45, count) * np.where(np.arange(count) % 2, 1, -1))[number] * s.by_strength(0.6, 1.2)
    pull = s.by_strength(0.15, 0.45) * fade
    pixels = shifted(s, s.u * pull, s.v * pull)
    gap = np.abs((bent[..., None] - borders + np.pi) % (2 * np.pi) - np.pi).min(-1) * s.d
    pixels = np.clip(pixels * (1 + tone * fade)[..., None], 0, 1)
    return painted(pixels, (0.95, 0.94, 0.9), smooth(gap, 0.04, 0.0) * fade * 0.7)


@draws("train", "crushed corner")
def squashed(s: Spot) -> Array:
    """A box's corner pushed in: the edge bulges, parallel wrinkles stand across the diagonal."""
    diagonal, side = (s.u + s.v) / np.sqrt(2), (s.u - s.v) / np.sqrt(2)
    fade = smooth(np.hypot(diagonal, side * 0.7), 1, 0.3)
    wrinkle = np.abs(((diagonal + jagged(s.rng, side, 9, 0.06)) * s.between(3, 5)) % 1 - 0.5) * 2
    height = wrinkle * fade * s.by_strength(0.03, 0.08)
    push = s.by_strength(0.1, 0.35) * fade
    pixels = shifted(s, push, push)
    pixels = lit(pixels, height, s.turn + np.pi / 4, s.by_strength(0.7, 1.2), s.radius)
    corner = smooth(np.minimum(s.u - 0.25, s.v - 0.25), -0.05, 0.05) * smooth(s.d, 1, 0.9)
    return painted(pixels, pixels.mean((0, 1)) * 0.35, corner * 0.9)


@draws("val", "crushed corner")
def bent(s: Spot) -> Array:
    """A corner of three planes, the tip broken off."""
    third = ((s.angle + np.pi) / (2 * np.pi) * 3).astype(int) % 3
    fade = smooth(s.d, 1, 0.7)
    tone = np.array([-0.45, 0.3, -0.15])[third] * s.by_strength(0.5, 1)
    move = np.array([(0.2, 0), (-0.1, 0.2), (0, -0.2)])[third] * fade[..., None]
    pixels = np.clip(shifted(s, move[..., 0], move[..., 1]) * (1 + tone * fade)[..., None], 0, 1)
    tip = smooth(s.d / wavy(s.rng, s.angle, 6, 0.3), 0.3, 0.26)
    return painted(pixels, (0.8, 0.72, 0.6), tip * s.by_strength(0.5, 1))


@draws("test", "crushed corner")
def fan(s: Spot) -> Array:
    """Triangles between a corner and points on an arc, each moved and lit on its own, open to the ground at the tip."""
    count = int(s.by_strength(4, 8))
    arc = np.clip((s.angle + 0.9) / 1.8 * count, 0, count - 1e-3)
    inside = smooth(np.abs(s.angle), 0.95, 0.85) * smooth(s.d, 1.1, 1.0)
    number = arc.astype(int)
    move = s.rng.uniform(-0.25, 0.25, (count, 2))[number] * (inside * np.clip(1 - s.d, 0, 1))[..., None]
    tone = s.rng.uniform(-0.5, 0.35, count)[number] * inside
    pixels = np.clip(shifted(s, move[..., 0] + 0.2 * inside, move[..., 1]) * (1 + tone)[..., None], 0, 1)
    edge = smooth(np.abs(arc - np.round(arc)) * s.d, 0.08, 0.0) * inside
    pixels = painted(pixels, (0.93, 0.92, 0.9), edge * 0.6)
    return painted(pixels, (0.1, 0.1, 0.11), smooth(s.d, s.by_strength(0.2, 0.4), 0.05) * inside)


@draws("test", "crushed corner")
def collapsed(s: Spot) -> Array:
    """Ridges of crumpled foil in the quadrant of a corner, cut off by two straight edges."""
    ridge = 1 - np.abs(2 * noise(s.rng, s.u.shape, s.radius * 0.35, 3) - 1)
    quadrant = smooth(np.maximum(s.u, s.v), 0.55, 0.5) * smooth(s.d, 1.3, 0.7)
    height = ridge * quadrant * s.by_strength(0.2, 0.5)
    pixels = lit(shifted(s, 0.5 * height, 0.5 * height), height, s.between(0, 6.3), s.by_strength(0.5, 0.9), s.radius)
    outside = (smooth(np.maximum(s.u, s.v), 0.52, 0.56)) * smooth(np.maximum(s.u, s.v), 0.85, 0.8) * smooth(s.d, 1.1, 1)
    return painted(pixels, s.pixels.mean((0, 1)) * 0.4, outside * 0.85)


# --- harmless ---------------------------------------------------------------------------------------------------------


@draws("train", INTACT)
def sticker(s: Spot) -> Array:
    """A label with lines of print."""
    out = np.maximum(np.abs(s.u) - 0.8, np.abs(s.v) - s.between(0.3, 0.7))
    paper = s.rng.random(3) * 0.5 + 0.5
    print_ = ((s.v * s.between(4, 8)) % 1 < 0.45) & (np.abs(s.u) < 0.65) & (noise(s.rng, s.u.shape, 4) > 0.35)
    return painted(s.pixels, np.where(print_[..., None], paper * 0.25, paper), smooth(out, 0.02, -0.02))


@draws("train", INTACT)
def round_label(s: Spot) -> Array:
    colour = s.rng.random(3)
    pixels = painted(s.pixels, colour, smooth(s.d, 0.62, 0.58))
    return painted(pixels, 1 - colour, smooth(np.abs(s.d - 0.45), 0.04, 0.02) * 0.8)


@draws("train", INTACT)
def shadow(s: Spot) -> Array:
    """A soft shadow of anything."""
    d = s.d / wavy(s.rng, s.angle, 4, 0.3)
    soft = s.between(0.05, 0.5)
    return s.pixels * (1 - s.between(0.25, 0.65) * smooth(d, 0.8 + soft, 0.8 - soft))[..., None]


@draws("train", INTACT)
def half_shade(s: Spot) -> Array:
    """The straight edge of a shadow across the picture."""
    return s.pixels * (1 - s.between(0.2, 0.55) * smooth(s.v, 0, s.between(0.02, 0.4)))[..., None]


@draws("train", INTACT)
def glare(s: Spot) -> Array:
    """A lamp mirrored in wrapping."""
    return painted(s.pixels, (1, 1, 0.97), np.exp(-((s.u / 0.6) ** 2 + (s.v / s.between(0.15, 0.6)) ** 2)) * s.between(0.4, 1))


@draws("train", INTACT)
def soft_focus(s: Spot) -> Array:
    return painted(s.pixels, blurred(s.pixels, s.between(1, 4)), smooth(s.d, 1, 0.6))


@draws("train", INTACT)
def coarse_jpeg(s: Spot) -> Array:
    """A part of the picture saved badly."""
    return painted(s.pixels, as_jpeg(s.pixels, int(s.between(8, 30))), smooth(s.d, 0.9, 0.7))


@draws("train", INTACT)
def patch(s: Spot) -> Array:
    """Another part of the photo pasted over, feathered."""
    shift = (int(s.between(-1, 1) * s.pixels.shape[0]), int(s.between(-1, 1) * s.pixels.shape[1]))
    return painted(s.pixels, np.roll(s.pixels, shift, (0, 1)), smooth(s.d / wavy(s.rng, s.angle, 6, 0.3), 0.8, 0.75))


@draws("train", INTACT)
def lens(s: Spot) -> Array:
    """Gently drawn out of shape, as by a lens: nothing is pressed."""
    bulge = s.between(-0.25, 0.25) * np.exp(-(s.d**2) / 1.2)
    return shifted(s, s.u * bulge, s.v * bulge)


@draws("train", INTACT)
def cast(s: Spot) -> Array:
    """Coloured light on a part."""
    return np.clip(s.pixels * (1 + smooth(s.d, 1.4, 0.2)[..., None] * s.rng.uniform(-0.3, 0.3, 3)), 0, 1)


@draws("val", INTACT)
def barcode(s: Spot) -> Array:
    bars = s.rng.random(64)[np.clip((s.u + 0.7) / 1.4 * 63, 0, 63).astype(int)] > 0.5
    out = np.maximum(np.abs(s.u) - 0.78, np.abs(s.v) - 0.5)
    return painted(s.pixels, np.where((bars & (np.abs(s.u) < 0.7) & (s.v < 0.3))[..., None], 0.05, 0.95) * np.ones(3), smooth(out, 0.02, 0))


@draws("val", INTACT)
def blinds(s: Spot) -> Array:
    return s.pixels * (1 - 0.4 * smooth(np.sin(s.v * s.between(6, 12)), -0.3, 0.3) * smooth(s.d, 1.6, 1.2))[..., None]


@draws("val", INTACT)
def mosaic(s: Spot) -> Array:
    """A part in large pixels."""
    height, width = s.pixels.shape[:2]
    size = int(s.between(4, 9))
    coarse = s.pixels[np.arange(height) // size * size][:, np.arange(width) // size * size]
    return painted(s.pixels, coarse, smooth(np.maximum(np.abs(s.u), np.abs(s.v)), 0.72, 0.7))


@draws("test", INTACT)
def price_tag(s: Spot) -> Array:
    """A yellow tag with a number of thick strokes."""
    out = np.maximum(np.abs(s.u) - 0.75, np.abs(s.v) - 0.45) - 0.06
    pixels = painted(s.pixels, (s.between(0.9, 1), s.between(0.8, 0.95), s.between(0.1, 0.7)), smooth(out, 0.02, 0))
    for place in (-0.45, -0.05, 0.35):
        box = np.maximum(np.abs(s.u - place) - 0.13, np.abs(s.v) - 0.28)
        stroke = smooth(np.abs(box), 0.06, 0.04) * (s.u * s.between(-1, 1) + s.v * s.between(-1, 1) < s.between(0, 0.3))
        pixels = painted(pixels, (0.75, 0.05, 0.05), stroke)
    return pixels


@draws("test", INTACT)
def fingers(s: Spot) -> Array:
    """Fingers that hold the thing, from one side."""
    pixels = s.pixels
    skin = np.array([s.between(0.55, 0.9), s.between(0.4, 0.68), s.between(0.3, 0.55)])
    for k in range(s.rng.integers(1, 4)):
        across = (s.v + 0.55 - 0.42 * k - 0.08 * s.u) / 0.19
        end = s.between(-0.3, 0.2)
        out = np.hypot(np.where(s.u > end, (s.u - end) / 0.19, 0), across)
        pixels = painted(pixels, skin * (1.05 - 0.35 * across**2)[..., None].clip(0.4), smooth(out, 1, 0.93) * (s.u > -1.5))
    return pixels


@draws("test", INTACT)
def droplets(s: Spot) -> Array:
    """Clear drops of water that turn what lies behind them upside down."""
    count = s.rng.integers(5, 14)
    place, size = s.rng.uniform(-0.9, 0.9, (count, 2)).astype(np.float32), s.rng.uniform(0.06, 0.14, count).astype(np.float32)
    du, dv = s.u[..., None] - place[:, 0], s.v[..., None] - place[:, 1]
    drop = (np.hypot(du, dv) / size).argmin(-1)
    du, dv, size = s.u - place[drop, 0], s.v - place[drop, 1], size[drop]
    d = np.hypot(du, dv) / size
    turned = shifted(s, np.where(d < 1, -1.6 * du, 0), np.where(d < 1, -1.6 * dv, 0))
    pixels = painted(s.pixels, turned * (0.9 + 0.25 * np.clip(dv / size, -1, 1))[..., None], smooth(d, 1, 0.9))
    return painted(pixels, (1, 1, 1), smooth(np.hypot(du + size * 0.35, dv + size * 0.35) / size, 0.22, 0.12))


@draws("test", INTACT)
def leaf_shadow(s: Spot) -> Array:
    """The dappled shade of leaves."""
    return s.pixels * (1 - s.between(0.3, 0.6) * smooth(noise(s.rng, s.u.shape, s.radius * 0.5, 2), 0.48, 0.56) * smooth(s.d, 1.5, 1))[..., None]


@draws("test", INTACT)
def foil(s: Spot) -> Array:
    """Streaks of light on smooth film."""
    streak = sum(np.exp(-(((s.v - s.between(-0.8, 0.8) - s.between(-0.2, 0.2) * s.u) / s.between(0.02, 0.08)) ** 2)) for _ in range(5))
    return painted(s.pixels, (1, 1, 1), np.clip(streak, 0, 1) * smooth(np.abs(s.u), 1.1, 0.6) * s.between(0.35, 0.8))


@draws("test", INTACT)
def inset(s: Spot) -> Array:
    """A square of the picture enlarged, as editors do it."""
    shown = shifted(s, -0.5 * s.u, -0.5 * s.v)
    return painted(s.pixels, shown, smooth(np.maximum(np.abs(s.u), np.abs(s.v)), 0.66, 0.64))


@draws("test", INTACT)
def motion(s: Spot) -> Array:
    """A part shaken."""
    shaken = sum(shifted(s, np.full_like(s.u, step), np.zeros_like(s.u)) for step in np.linspace(-0.12, 0.12, 5)) / 5
    return painted(s.pixels, shaken, smooth(s.d, 1.1, 0.8))


# --- pictures ---------------------------------------------------------------------------------------------------------


def as_jpeg(pixels: Array, quality: int) -> Array:
    file = BytesIO()
    Image.fromarray((pixels * 255 + 0.5).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"), np.float32) / 255


@dataclass
class Picture:
    pixels: Array  # (H, W, 3) in 0 to 1
    type: str
    severity: float
    renderer: str


def draw(photo: Array, kind: str, split: str, rng: np.random.Generator, renderer: Renderer | None = None) -> Picture:
    """A photo (H, W, 3) in 0 to 1 with something of this kind drawn onto it by a renderer of the split."""
    if rng.random() < 0.5:
        photo = photo[:, ::-1]
    if kind == INTACT and renderer is None and rng.random() < 0.4:
        return Picture(photo, INTACT, 0.0, "none")
    height, width = photo.shape[:2]
    severity = float(rng.random())
    radius = min(height, width) * (0.1 + 0.22 * severity) * rng.uniform(0.9, 1.1)
    x, y = width * rng.uniform(0.2, 0.8), height * rng.uniform(0.2, 0.8)
    renderers = RENDERERS[split, kind]
    chosen = renderer or renderers[rng.integers(len(renderers))]
    pixels = np.clip(chosen(Spot(photo, rng, x, y, radius, severity, rng.uniform(0, 2 * np.pi))), 0, 1).astype(np.float32)
    return Picture(pixels, kind, severity if kind != INTACT else 0.0, chosen.__name__)


def open_photo(path: Path, size: int, square: bool, rng: np.random.Generator) -> Array:
    """The photo with its shorter side at `size` px; `square`: a part of that size in both directions, taken at random."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
    scale = size / min(photo.size)
    photo = photo.resize((max(size, round(photo.width * scale)), max(size, round(photo.height * scale))), Image.Resampling.BICUBIC)
    if square:
        left, top = (int(rng.integers(extent - size + 1)) for extent in photo.size)
        photo = photo.crop((left, top, left + size, top + size))
    return np.asarray(photo, np.float32) / 255


def pictures(folder: Path, split: str, count: int = 0, size: int = 256, square: bool = False, seed: int = 1) -> Iterator[tuple[Picture, str]]:
    """`count` pictures of a split (0: one of each photo), half of them intact, with the photo that each was drawn on."""
    photos = photos_of(folder, split)
    order = np.random.default_rng(seed).permutation(len(photos))
    for number in range(count or len(photos)):
        rng = np.random.default_rng((seed, number))
        name = photos[order[number % len(photos)]]
        kind = INTACT if number % 2 == 0 else TYPES[number // 2 % len(TYPES)]
        picture = draw(open_photo(folder / name, size, square, rng), kind, split, rng)
        picture.pixels = as_jpeg(picture.pixels, int(rng.integers(70, 96)))
        yield picture, name


def photos_of(folder: Path, split: str) -> list[str]:
    with open(folder / f"{split}.csv", newline="") as file:
        return [row["path"] for row in csv.DictReader(file)]


def as_image(pixels: Array) -> Image.Image:
    return Image.fromarray((pixels * 255 + 0.5).astype(np.uint8))


def contact_sheet(folder: Path, split: str, columns: int = 6) -> Image.Image:
    """A row of examples for each renderer, light on the left, severe on the right as chance has it."""
    photos, rng, tile = photos_of(folder, split), np.random.default_rng(5), 160
    rows = [(kind, renderer) for (part, kind), known in RENDERERS.items() if part == split for renderer in known]
    sheet = Image.new("RGB", (columns * tile, len(rows) * tile))
    for row, (kind, renderer) in enumerate(rows):
        for column in range(columns):
            photo = open_photo(folder / photos[rng.integers(len(photos))], 256, True, rng)
            drawn = as_image(draw(photo, kind, split, rng, renderer).pixels).resize((tile, tile))
            ImageDraw.Draw(drawn).text((3, 3), renderer.__name__, "white", stroke_width=1, stroke_fill="black")
            sheet.paste(drawn, (column * tile, row * tile))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder with train.csv, val.csv, test.csv and the photos")
    parser.add_argument("--split", choices=("train", "val", "test"), required=True, help="of photos and renderers")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder for pictures.jsonl and the pictures")
    where.add_argument("--sheet", type=Path, help="picture file for a row of examples of each renderer")
    parser.add_argument("--count", type=int, default=0, help="how many pictures; default: one of each photo")
    parser.add_argument("--size", type=int, default=256, help="px of the shorter side")
    parser.add_argument("--square", action="store_true", help="square parts of the photos only")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.sheet:
        contact_sheet(options.photos, options.split).save(options.sheet)
        return
    (options.out / "pictures").mkdir(parents=True, exist_ok=True)
    with open(options.out / "pictures.jsonl", "w") as manifest:
        made = pictures(options.photos, options.split, options.count, options.size, options.square, options.seed)
        for number, (picture, photo) in enumerate(made):
            path = Path("pictures") / f"{number:06}.png"
            as_image(picture.pixels).save(options.out / path)
            line = {"image": str(path), "label": picture.type, "severity": round(picture.severity, 4), "set": picture.renderer, "photo": photo}
            manifest.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
