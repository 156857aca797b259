#!/usr/bin/env python3
"""Speaks the speech corpus of the default model with the free synthesisers espeak-ng, flite and festival.

    python models/default/train/synthesise.py --out DIR --data ../shared/data

writes DIR/<split>/<set>/<hash>.wav (16 kHz mono, 16 bit, silence trimmed, level set) and DIR/manifest.jsonl, one line
per clip. A clip's name is a hash of what is said and by whom, so a second run speaks only what is missing. README.md
beside this file says which speaker belongs to which split and why.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import importlib.util
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Callable

import numpy as np

import speech_texts as texts
from speech_texts import Line

RATE = 16000
LEVEL = 10 ** (-24 / 20)  # RMS of the active part, full scale 1; engines differ by 14 dB
PEAK = 0.95
BATCH = 40  # sentences per festival process: its start costs more than a sentence

ESPEAK_ACCENTS = (
    "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc",
)
ESPEAK_TRAIN = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f4", "klatt", "klatt2", "klatt3", "klatt4", "adam",
    "Alex", "Alicia", "Andrea", "Annie", "anika", "aunty", "benjamin", "boris", "caleb", "david", "Denis", "ed", "edward",
    "grandma", "grandpa", "Jacky", "john", "Lee", "linda", "marcelo", "max", "Michael", "michel", "paul",
    "pedro", "quincy", "rob", "robert", "shelby", "steph", "steph2", "steph3", "travis", "victor", "zac",
)
ESPEAK_VAL = ("m7", "f5", "Andy", "belinda")


@dataclass(frozen=True)
class Voice:
    """One way to speak. `rate` is words a minute (espeak-ng) or relative; `warp` > 1 shortens the vocal tract."""

    engine: str
    name: str
    speaker: str
    rate: float = 1.0
    pitch: int = 50
    warp: float = 1.0


@dataclass(frozen=True)
class Clip:
    line: Line
    voice: Voice

    @property
    def path(self) -> str:
        said = json.dumps([self.line.text, asdict(self.voice)], sort_keys=True)
        return f"{self.line.split}/{self.line.set}/{hashlib.sha256(said.encode()).hexdigest()[:16]}.wav"

    def record(self) -> dict:
        return {"audio": self.path, **asdict(self.line), **asdict(self.voice), "voice": self.voice.name}


# --- voices of each split -------------------------------------------------------------------------------------------

FLITE_TEST = Voice("flite", "slt", "slt")
FESTIVAL_TEST = Voice("festival", "cmu_us_slt_arctic_hts", "slt")
FESTIVAL_VAL = Voice("festival", "ked_diphone", "ked")


def espeak_voice(variants: tuple[str, ...], rng: random.Random) -> Voice:
    variant = rng.choice(variants)
    name = f"{rng.choice(ESPEAK_ACCENTS)}+{variant}"
    return Voice("espeak-ng", name, f"espeak-{variant}", rng.randrange(125, 205, 5), rng.randrange(30, 71, 5))


def flite_voice(rng: random.Random) -> Voice:
    """Three men; the warp moves pitch and formants from 8 % lower to 22 % higher, which flite's own settings cannot."""
    name, speaker = rng.choices((("awb", "awb"), ("rms", "rms"), ("kal16", "kal")), (4, 4, 3))[0]
    warp = rng.choice((0.92, 0.96, 1.0, 1.0, 1.0, 1.04, 1.08, 1.15, 1.22))
    return Voice("flite", name, speaker, round(rng.uniform(0.85, 1.2) / warp, 2), 50, warp)


def train_voices(lines: list[Line], rng: random.Random) -> list[Clip]:
    """A sentence that comes again is spoken by the other engine than last time: words and products get both."""
    clips: list[Clip] = []
    by_espeak: dict[str, bool] = {}
    for line in lines:
        espeak = not by_espeak[line.text] if line.text in by_espeak else rng.random() < 0.5
        by_espeak[line.text] = espeak
        clips.append(Clip(line, espeak_voice(ESPEAK_TRAIN, rng) if espeak else flite_voice(rng)))
    return clips


def alternate(lines: list[Line], speakers: tuple[Callable[[], Voice], ...]) -> list[Clip]:
    return [Clip(line, speakers[index % len(speakers)]()) for index, line in enumerate(lines)]


def plan(data: Path, model: Path, seed: int, pico: bool) -> list[Clip]:
    """Every clip, in the order of making: test, val, products, the rest of train."""

    def stream(name: str) -> random.Random:
        return random.Random(f"{seed}/{name}")

    clips: list[Clip] = []
    held_out = texts.word_split(data, model, stream("word split"))
    taken: set[str] = set()  # the sentences of test are drawn first, then of val, so train never holds one of them
    free = {
        split: texts.draw(texts.clinc(data, split), count, stream(f"clinc {split}"), taken, split, "clinc")
        + texts.orders(split, orders, stream(f"orders {split}"), taken)
        + texts.words(split, held_out, stream(f"words {split}"))
        for split, count, orders in (("test", 500, 200), ("val", 300, 200))
    }
    slt = (lambda: FLITE_TEST, lambda: FESTIVAL_TEST)
    tested = texts.products(data, model, "test", stream("products test"))
    clips += [Clip(line, speaker()) for line in tested for speaker in slt]
    clips += alternate(free["test"], slt)
    if pico:
        voices = [Voice("pico", name, f"pico-{name}") for name in ("en-US", "en-GB")]
        clips += [Clip(replace(line, set="products-pico"), voices[i % 2]) for i, line in enumerate(tested)]

    rng = stream("voices val")
    val = (lambda: FESTIVAL_VAL, lambda: espeak_voice(ESPEAK_VAL, rng))
    # Five phrasings a product, two kinds of speaker: the odd cycle gives every phrasing to both.
    clips += alternate(texts.products(data, model, "val", stream("products val")), val)
    clips += alternate(free["val"], val)

    rng = stream("voices train")
    clips += train_voices(texts.products(data, model, "train", stream("products train")), rng)
    train = texts.keywords(data, model) + texts.words("train", held_out, stream("words train"))
    taken |= {texts.key(line.text) for line in train}
    train += texts.orders("train", 2200, stream("orders train"), taken)
    for name, sentences, count in (
        ("clinc", texts.clinc(data, "train"), 10000),
        ("banking", texts.banking(data), 1000),
        ("goemotions", texts.goemotions(data), 1500),
    ):
        train += texts.draw(sentences, count, stream(f"{name} train"), taken, "train", name)
    clips += train_voices(train, stream("voices free"))
    return list({clip.path: clip for clip in clips}.values())


# --- engines --------------------------------------------------------------------------------------------------------


def run(command: list[str], given: str | None = None) -> bytes:
    done = subprocess.run(command, input=None if given is None else given.encode(), capture_output=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[:200]}")
    return done.stdout


def write_wave(path: Path, frames: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(frames)


def decode(stored: bytes) -> tuple[np.ndarray, int]:
    """16-bit mono WAV -> samples in [-1, 1), rate. espeak-ng writes no length when it writes to a pipe."""
    with wave.open(io.BytesIO(stored)) as file:
        if file.getnchannels() != 1 or file.getsampwidth() != 2:
            raise RuntimeError("an engine wrote something other than 16-bit mono")
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(60 * rate), dtype="<i2")
    return samples.astype(np.float64) / 32768, rate


def speak_espeak(clip: Clip, folder: Path) -> bytes:
    voice = clip.voice
    options = ["-v", voice.name, "-s", str(int(voice.rate)), "-p", str(voice.pitch), "--stdin", "--stdout"]
    return run(["espeak-ng", *options], clip.line.text)


def speak_flite(clip: Clip, folder: Path) -> bytes:
    voice, target = clip.voice, folder / "flite.wav"
    stretch = f"duration_stretch={1 / voice.rate:.3f}"
    run(["flite", "-voice", voice.name, "--setf", stretch, "-t", clip.line.text, "-o", str(target)])
    return target.read_bytes()


def speak_pico(clip: Clip, folder: Path) -> bytes:
    from py_nanotts import NanoTTS  # optional: only --pico needs it

    target = folder / "pico.wav"
    write_wave(target, NanoTTS().speak(clip.line.text, voice=clip.voice.name))
    return target.read_bytes()


def speak_festival(clips: list[Clip], folder: Path) -> list[bytes]:
    """One process for many sentences of one voice."""
    script = [f"(voice_{clips[0].voice.name})"]
    for index, clip in enumerate(clips):
        text = clip.line.text.replace("\\", " ").replace('"', " ")
        saved = json.dumps(str(folder / f"{index}.wav"))
        script.append(f"(utt.save.wave (utt.synth (Utterance Text \"{text}\")) {saved} 'riff)")
    (folder / "batch.scm").write_text("\n".join(script), encoding="ascii")
    run(["festival", "-b", str(folder / "batch.scm")])
    return [(folder / f"{index}.wav").read_bytes() for index in range(len(clips))]


def speak(batch: list[Clip], folder: Path) -> list[bytes]:
    if batch[0].voice.engine == "festival":
        return speak_festival(batch, folder)
    engine = {"espeak-ng": speak_espeak, "flite": speak_flite, "pico": speak_pico}[batch[0].voice.engine]
    return [engine(clip, folder) for clip in batch]


# --- sound ----------------------------------------------------------------------------------------------------------


def resample(samples: np.ndarray, rate: float) -> np.ndarray:
    """Band-limited, in the frequency domain: clips are short and end in silence, so the wrap-around is silent."""
    padded = np.concatenate([samples, np.zeros(256 + -(len(samples) + 256) % 512)])
    count = round(len(padded) * RATE / rate)
    spectrum = np.fft.rfft(padded)
    kept = np.zeros(count // 2 + 1, dtype=complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return np.fft.irfft(kept, count) * (count / len(padded))


def condition(samples: np.ndarray, rate: int, warp: float) -> np.ndarray:
    """Resample, cut the silence to 60 ms at both ends, set the level of the active part, fade 5 ms."""
    samples = samples - samples.mean()
    if rate * warp != RATE:
        samples = resample(samples, rate * warp)
    hop = RATE // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = (frames**2).mean(axis=1)
    active = np.flatnonzero(power > max(power.max(initial=0.0) * 10**-4.5, 1e-9))
    if len(active) < 10:
        raise RuntimeError("the clip is silent")
    samples = samples[max(0, active[0] - 6) * hop : (active[-1] + 7) * hop]
    loud = power[power > power.max() * 10**-3]
    gain = min(LEVEL / np.sqrt(loud.mean()), PEAK / np.abs(samples).max())
    fade = np.linspace(0, 1, hop // 2)
    samples[: len(fade)] *= fade
    samples[-len(fade) :] *= fade[::-1]
    return samples * gain


def write_clip(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{threading.get_ident()}.part")
    write_wave(partial, np.round(samples * 32767).astype("<i2").tobytes())
    os.replace(partial, path)


# --- the run --------------------------------------------------------------------------------------------------------


def make(batch: list[Clip], out: Path) -> list[str]:
    """Speaks and writes a batch; returns a sentence per clip that failed."""
    problems = []
    with tempfile.TemporaryDirectory(prefix="speech-") as folder:
        try:
            spoken = speak(batch, Path(folder))
        except (RuntimeError, OSError, UnicodeError, subprocess.TimeoutExpired) as error:
            return [f"{clip.voice.engine} {clip.voice.name}: {clip.line.text!r}: {error}" for clip in batch]
        for clip, stored in zip(batch, spoken):
            try:
                write_clip(out / clip.path, condition(*decode(stored), clip.voice.warp))
            except (RuntimeError, wave.Error, EOFError) as error:
                problems.append(f"{clip.voice.engine} {clip.voice.name}: {clip.line.text!r}: {error}")
    return problems


def batches(clips: list[Clip]) -> list[list[Clip]]:
    """Festival's clips by voice in groups of BATCH, all others alone, roughly in the order given."""
    groups: dict[str, list[Clip]] = {}
    units: list[list[Clip]] = []
    for clip in clips:
        if clip.voice.engine != "festival":
            units.append([clip])
            continue
        group = groups.setdefault(clip.voice.name, [])
        group.append(clip)
        if len(group) == BATCH:
            units.append(groups.pop(clip.voice.name))
    return units + list(groups.values())


def write_manifest(clips: list[Clip], out: Path) -> int:
    present = [clip for clip in clips if (out / clip.path).exists()]
    partial = out / "manifest.jsonl.part"
    partial.write_text("".join(json.dumps(clip.record()) + "\n" for clip in present), encoding="utf-8")
    os.replace(partial, out / "manifest.jsonl")
    return len(present)


class Progress:
    """A bar on a terminal, a line every five hundred clips elsewhere; both on stderr."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.start, self.bar = total, 0, time.monotonic(), sys.stderr.isatty()

    def add(self, count: int) -> None:
        before, self.done = self.done, self.done + count
        speed = self.done / max(time.monotonic() - self.start, 1e-3)
        status = f"{self.done}/{self.total} clips, {speed:.1f}/s, {(self.total - self.done) / speed / 60:.1f} min left"
        if self.bar:
            filled = 30 * self.done // self.total
            print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {status}   ", end="", file=sys.stderr, flush=True)
        elif before // 500 != self.done // 500 or self.done == self.total:
            print(status, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar and self.total:
            print(file=sys.stderr)


def check_engines(clips: list[Clip]) -> None:
    needed = {clip.voice.engine for clip in clips}
    if "pico" in needed and importlib.util.find_spec("py_nanotts") is None:
        raise SystemExit("[synthesise] wanted the package py-nanotts for --pico, found none")
    needed.discard("pico")
    missing = sorted(engine for engine in needed if shutil.which(engine) is None)
    if missing:
        raise SystemExit(f"[synthesise] wanted the programs {', '.join(missing)} on the path, found none; see README.md")
    listed = run(["espeak-ng", "--voices=variant"]).decode()
    unknown = [name for name in ESPEAK_TRAIN + ESPEAK_VAL if not re.search(rf"!v/{name}\s", listed)]
    if unknown:  # espeak-ng itself would speak with its plain voice and say nothing
        raise SystemExit(f"[synthesise] wanted espeak-ng 1.51 with the variants {unknown}, found none of these")
    if "festival" in needed:
        known = run(["festival", "-b", "(print (voice.list))"]).decode().strip("()\n ").split()
        wanted = {clip.voice.name for clip in clips if clip.voice.engine == "festival"}
        if not wanted <= set(known):
            raise SystemExit(f"[synthesise] wanted the festival voices {sorted(wanted)}, found {known}; see README.md")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--data", type=Path, required=True, help="folder with grocery/, intents/, text_emotion_goemotions/")
    parser.add_argument("--model", type=Path, default=texts.HERE.parent, help="folder with catalogue.jsonl, evaluation/")
    parser.add_argument("--jobs", type=int, default=1, help="engines running at a time")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--pico", action="store_true", help="also a second held-out test engine (package py-nanotts)")
    options = parser.parse_args()

    try:
        clips = plan(options.data, options.model, options.seed, options.pico)
    except OSError as error:
        raise SystemExit(f"[synthesise] wanted the data and the catalogue: {error}") from error
    check_engines(clips)
    options.out.mkdir(parents=True, exist_ok=True)
    todo = [clip for clip in clips if not (options.out / clip.path).exists()]
    print(f"{len(clips)} clips planned, {len(todo)} to make", file=sys.stderr)
    progress, problems, saved = Progress(len(todo)), [], time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        units = batches(todo)
        for unit, failed in zip(units, pool.map(lambda unit: make(unit, options.out), units)):
            progress.add(len(unit))
            problems += failed
            if time.monotonic() - saved > 60:
                write_manifest(clips, options.out)
                saved = time.monotonic()
    progress.close()
    count = write_manifest(clips, options.out)
    for problem in problems[:20]:
        print(f"not spoken: {problem}", file=sys.stderr)
    kinds = Counter((clip.line.split, clip.line.set, clip.voice.engine) for clip in clips)
    for (split, name, engine), number in sorted(kinds.items()):
        print(f"{split:5} {name:14} {engine:9} {number:5}")
    print(f"{count} of {len(clips)} clips in {options.out / 'manifest.jsonl'}")
    return 0 if count == len(clips) else 1


if __name__ == "__main__":
    sys.exit(main())
