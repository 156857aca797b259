"""Writes tests/golden/audio: synthesised clips in many formats and what other tools make of them.

Samples come from numpy, resampling from the soxr wheel, mels from transformers' WhisperFeatureExtractor; nothing here
uses Trine. Needs numpy, soundfile, soxr, torch, transformers and the `ffmpeg` program with its AAC, ALAC, LAME, Opus,
Vorbis and WMA encoders.

    python tests/golden/make_audio.py
"""

import pathlib
import struct
import subprocess

import numpy as np
import soundfile
import soxr
from transformers import WhisperFeatureExtractor

FOLDER = pathlib.Path(__file__).parent / "audio"
RATE = 16000


def chirp(seconds, rate, low, high):
    t = np.arange(int(round(seconds * rate))) / rate
    return np.sin(2 * np.pi * (low * t + (high - low) * t * t / (2 * seconds)))


def voice(seconds, rate, pitch):
    """Harmonics of a gliding pitch under two formants and a syllable envelope."""
    t = np.arange(int(round(seconds * rate))) / rate
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 3 * t))) / rate
    total = np.zeros_like(t)
    for k in range(1, int(min(4000, rate / 2 - 1) // (pitch * 1.1)) + 1):
        formants = np.exp(-(((k * pitch - 600) / 250) ** 2)) + 0.5 * np.exp(-(((k * pitch - 1700) / 400) ** 2))
        total += formants * np.sin(k * phase)
    total *= 0.6 + 0.4 * np.sin(2 * np.pi * 4 * t - 1)
    return total / np.abs(total).max()


def clip(rate, channels, seconds):
    """Each channel its own voice or chirp, all well below full scale. -> (frames, channels)"""
    columns = [
        0.5 * voice(seconds, rate, 110 + 30 * c) if c % 2 == 0 else 0.4 * chirp(seconds, rate, 200, 1200 + 100 * c)
        for c in range(channels)
    ]
    return np.stack(columns, axis=1)


def save(name, array):
    np.ascontiguousarray(array, dtype="<f4").tofile(FOLDER / name)


def mono(samples, rate):
    mixed = np.asarray(samples, dtype=np.float64).mean(axis=1).astype(np.float32)
    return mixed if rate == RATE else soxr.resample(mixed, rate, RATE, quality="HQ")


def write_wave(path, tag, bits, channels, rate, data):
    """A bare RIFF file, for the kinds soundfile does not write."""
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits)
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def decode_mulaw(codes):
    """ITU-T G.711."""
    codes = ~codes.astype(np.int32) & 0xFF
    magnitude = (((codes & 15) << 3) + 132 << (codes >> 4 & 7)) - 132
    return np.where(codes & 128, -magnitude, magnitude) / 32768


def decode_alaw(codes):
    """ITU-T G.711."""
    codes = codes.astype(np.int32) ^ 0x55
    exponent = codes >> 4 & 7
    magnitude = ((codes & 15) << 4) + 8
    magnitude = np.where(exponent > 0, magnitude + 256 << np.maximum(exponent - 1, 0), magnitude)
    return np.where(codes & 128, magnitude, -magnitude) / 32768


def lossless_cases():
    """(file, rate, channels, expected samples) with samples that the format holds exactly."""
    def integers(rate, channels, seconds, bits):
        return np.round(clip(rate, channels, seconds) * (2 ** (bits - 1) - 1)).astype(np.int64)

    def write(name, rate, channels, seconds, bits, container, subtype):
        whole = integers(rate, channels, seconds, bits)
        soundfile.write(FOLDER / name, (whole << (32 - bits)).astype(np.int32), rate, subtype, format=container)
        return name, rate, channels, whole / 2.0 ** (bits - 1)

    yield write("pcm16_stereo_44100.wav", 44100, 2, 0.1, 16, "WAV", "PCM_16")
    yield write("pcm24_22050.wav", 22050, 1, 0.1, 24, "WAV", "PCM_24")
    yield write("pcm32_11025.wav", 11025, 1, 0.1, 32, "WAV", "PCM_32")
    yield write("pcm8_8000.wav", 8000, 1, 0.1001, 8, "WAV", "PCM_U8")
    yield write("pcm16_16001.wav", 16001, 1, 0.1, 16, "WAV", "PCM_16")
    yield write("pcm16_16000.wav", 16000, 1, 0.1, 16, "WAV", "PCM_16")
    yield write("extensible_6ch_48000.wav", 48000, 6, 0.04, 16, "WAVEX", "PCM_16")
    yield write("rf64_16000.wav", 16000, 1, 0.1, 16, "RF64", "PCM_16")
    yield write("pcm16_stereo.w64", 22050, 2, 0.1, 16, "W64", "PCM_16")
    yield write("pcm16_stereo.flac", 44100, 2, 0.1, 16, "FLAC", "PCM_16")
    yield write("pcm24.flac", 48000, 1, 0.1, 24, "FLAC", "PCM_24")
    yield write("pcm16_stereo.aiff", 22050, 2, 0.1, 16, "AIFF", "PCM_16")
    yield write("pcm16.au", 8000, 1, 0.2, 16, "AU", "PCM_16")
    yield write("pcm16.caf", 32000, 1, 0.1, 16, "CAF", "PCM_16")

    for name, kind, channels, rate, seconds in (
        ("float_6ch_48000.wav", "<f4", 6, 48000, 0.04),
        ("double_8000.wav", "<f8", 1, 8000, 0.1),
    ):
        samples = clip(rate, channels, seconds).astype(kind)
        write_wave(FOLDER / name, 3, samples.itemsize * 8, channels, rate, samples.tobytes())
        yield name, rate, channels, samples.astype(np.float32)

    codes = np.random.default_rng(7).integers(0, 256, 700).astype(np.uint8)
    write_wave(FOLDER / "mulaw_8000.wav", 7, 8, 1, 8000, codes.tobytes())
    yield "mulaw_8000.wav", 8000, 1, decode_mulaw(codes)[:, None]
    write_wave(FOLDER / "alaw_8000.wav", 6, 8, 1, 8000, codes.tobytes())
    yield "alaw_8000.wav", 8000, 1, decode_alaw(codes)[:, None]


def lossy_cases():
    """(file, encoder's arguments, channels, rate, samples it may be shifted at 16 kHz, least correlation)"""
    aligned = 2  # formats that say how much of their beginning is padding
    yield "aac.m4a", "-c:a aac -b:a 128k", 2, 44100, aligned, 0.98
    yield "aac.aac", "-c:a aac -b:a 128k", 2, 44100, 400, 0.98
    yield "alac.m4a", "-c:a alac", 1, 44100, 0, 0.99999
    yield "mp3.mp3", "-c:a libmp3lame -b:a 96k", 2, 44100, aligned, 0.98
    yield "vorbis.ogg", "-c:a libvorbis -q:a 4", 2, 44100, aligned, 0.98
    yield "flac.oga", "-c:a flac", 1, 22050, 0, 0.99999
    yield "opus.opus", "-c:a libopus -b:a 96k", 1, 48000, aligned, 0.98
    yield "opus.webm", "-c:a libopus -b:a 96k", 1, 48000, aligned, 0.98
    yield "aac.mka", "-c:a aac -b:a 128k", 1, 44100, 400, 0.97
    yield "wma.wma", "-c:a wmav2 -b:a 128k", 1, 44100, 800, 0.99
    yield "adpcm_ima.wav", "-c:a adpcm_ima_wav", 1, 22050, aligned, 0.99
    yield "adpcm_ms.wav", "-c:a adpcm_ms", 1, 22050, aligned, 0.99


def ffmpeg(arguments, source, target):
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", source, *arguments.split(), "-map_metadata", "-1", "-fflags",
                    "+bitexact", "-flags", "+bitexact", target], check=True)


def write_clips():
    lines = ["# file rate channels seconds max_shift min_correlation (0 1: equal samples) expected (mono, 16 kHz)"]
    for name, rate, channels, samples in lossless_cases():
        save(f"{name}.f32", mono(samples, rate))
        lines.append(f"{name} {rate} {channels} {len(samples) / rate:.6f} 0 1 {name}.f32")
    source = FOLDER / "source.wav"
    for name, arguments, channels, rate, lag, correlation in lossy_cases():
        samples = clip(rate, channels, 0.25)
        soundfile.write(source, samples, rate, "PCM_16")
        ffmpeg(arguments, source, FOLDER / name)
        expected = f"lossy_{rate}_{channels}.f32"
        save(expected, mono(samples, rate))
        lines.append(f"{name} {rate} {channels} {len(samples) / rate:.6f} {lag} {correlation} {expected}")
    # The sound of a video: a black picture beside the AAC track.
    soundfile.write(source, clip(44100, 1, 0.25), 44100, "PCM_16")
    picture = "-f lavfi -i color=black:s=32x32:d=0.25 -map 1:v -map 0:a -c:v mpeg4"
    ffmpeg(f"{picture} -c:a aac -b:a 128k", source, FOLDER / "video.mp4")
    lines.append("video.mp4 44100 1 0.25 2 0.98 lossy_44100_1.f32")
    source.unlink()
    (FOLDER / "clips.txt").write_text("\n".join(lines) + "\n")


def write_resampled():
    noise = 0.3 * np.random.default_rng(3).standard_normal(1501)
    save("noise.f32", noise)
    lines = ["# from to; the input is noise.f32, the result from_to.f32"]
    pairs = "44100 16000, 48000 16000, 8000 16000, 16001 16000, 11025 16000, 22050 44100, 768000 1000, 12345 54321"
    for source, target in (map(int, pair.split()) for pair in pairs.split(",")):
        save(f"{source}_{target}.f32", soxr.resample(noise.astype(np.float32), source, target, quality="HQ"))
        lines.append(f"{source} {target}")
    (FOLDER / "resampled.txt").write_text("\n".join(lines) + "\n")


def write_mels():
    noise = np.random.default_rng(5).standard_normal(5333)
    clips = {
        "voice": 0.5 * voice(0.5, RATE, 130),
        "chirp": 0.9 * chirp(0.3, RATE, 50, 7900),
        "noise": 0.1 * noise,
        "quiet": 1e-5 * noise[:1999],
        "click": np.eye(1, 1000, 500)[0],
        "silence": np.zeros(1600),
        "shortest": 0.2 * noise[:201],
        "window": 0.2 * noise[:400],
        "one": np.array([0.5]),
        "half": 0.2 * noise[:200],
    }
    lines = ["# clip bands columns; the samples are mel_clip.f32, the values mel_clip_bands.f32"]
    for name, samples in clips.items():
        samples = samples.astype(np.float32)
        save(f"mel_{name}.f32", samples)
        if len(samples) <= 200:  # too short to reflect: zeros up to a window first
            samples = np.pad(samples, (0, 400 - len(samples)))
        for bands in (80, 128):
            extractor = WhisperFeatureExtractor(feature_size=bands)
            mel = extractor(samples, sampling_rate=RATE, padding="do_not_pad", return_tensors="np").input_features[0]
            save(f"mel_{name}_{bands}.f32", mel)
            lines.append(f"{name} {bands} {mel.shape[1]}")
    (FOLDER / "mels.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write_clips()
    write_resampled()
    write_mels()
