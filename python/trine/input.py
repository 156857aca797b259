"""How a file becomes samples: the functions that `Embedder` reads its inputs with, for use on their own."""

from __future__ import annotations

import numpy as np

from . import _inputs, _trine


def read_image(source: _inputs.ImageLike, *, draft_side: int = 0) -> np.ndarray:
    """The pixels of a picture, uint8 (H, W, 3), equal to Pillow's `Image.open(source).convert("RGB")`.

    `source` is a path or the bytes of a JPEG, PNG, WebP, BMP, TIFF or GIF (first frame). With a `draft_side` above 0 a
    JPEG is decoded at 1/8, 1/4 or 1/2 of its size, the smallest of which no side has fewer pixels: much faster, with the
    pixels of Pillow's `draft("RGB", (draft_side, draft_side))`.

    >>> trine.read_image("photo.jpg").shape                     # doctest: +SKIP
    (480, 640, 3)
    """
    if not isinstance(draft_side, int) or draft_side < 0:
        raise ValueError(f"draft_side must be a whole number of at least 0, not {draft_side!r}.")
    return _inputs.pixels(source, draft_side)


def resize(image: _inputs.ImageLike, size: tuple[int, int], filter: str = "bicubic") -> np.ndarray:
    """A picture at `size` = (width, height), uint8 (height, width, 3), bit-equal to Pillow's `resize`.

    `filter` is "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos".

    >>> trine.resize("photo.jpg", (224, 224)).shape             # doctest: +SKIP
    (224, 224, 3)
    """
    width, height = size
    return _trine.resize(_inputs.pixels(image), width, height, filter)


def read_audio(source: _inputs.AudioLike, *, sample_rate: int = _inputs.DEFAULT_RATE) -> tuple[np.ndarray, int]:
    """A clip as (samples, rate): mono float32 (n), nominally in [-1, 1], at `sample_rate` Hz; 0 keeps its own rate.

    `source` is a path or the bytes of a file (WAV, FLAC, Ogg, MP3, M4A, the sound of a video ...), or samples as
    `Embedder.embed_audio` takes them. Channels are mixed down to their mean, rates converted with soxr HQ.

    >>> samples, rate = trine.read_audio("question.wav")        # doctest: +SKIP
    """
    clip = _inputs.audio(source, sample_rate)
    return _trine.read_audio(clip, sample_rate) if isinstance(clip, str) else clip


def read_video(
    source: _inputs.PathLike | bytes,
    *,
    frames_per_second: float = 1,
    frames: int = 0,
    sound: bool = True,
    subtitles: bool = True,
    sample_rate: int = _inputs.DEFAULT_RATE,
) -> _trine.Video:
    """A video as a `Video`: its frames as `VideoFrame(time, image)`, its sound as (samples, rate) and its subtitles.

    `source` is a path or the bytes of an MP4, MOV, Matroska, WebM, AVI, Ogg, MPEG-TS, FLV, WMV, GIF or the like. Frames are
    what is on screen at 0, 1, 2 ... s for `frames_per_second` 1, or `frames` spread evenly. What is missing or damaged is
    in `notes`; RuntimeError where no frame can be had.

    >>> video = trine.read_video("clip.mp4", frames=8)          # doctest: +SKIP
    >>> video.frames[0].image.shape                             # doctest: +SKIP
    (720, 1280, 3)
    """
    source = _inputs.file(source, "video")
    return _trine.read_video(source, frames_per_second, frames, sound, subtitles, sample_rate)


def read_subtitles(path: _inputs.PathLike) -> list[_trine.Subtitle]:
    """The cues of a SubRip or WebVTT file as `Subtitle(start, end, text)`, tags left out; RuntimeError names a bad line.

    >>> trine.read_subtitles("clip.srt")                        # doctest: +SKIP
    [Subtitle(1.00, 3.50, 'A ripe banana.'), ...]
    """
    return _trine.read_subtitles(_inputs.path(path))


def whisper_mel(samples: np.ndarray, *, mel_bands: int = 80) -> np.ndarray:
    """Whisper's log-mel features of 16 kHz samples (n) -> float32 (mel_bands, n / 160).

    Equal to transformers' WhisperFeatureExtractor, without its padding to 30 seconds.

    >>> trine.whisper_mel(np.zeros(16_000, np.float32)).shape   # doctest: +SKIP
    (80, 100)
    """
    values = _inputs.vector(samples, "clip")
    if values.ndim != 1:
        raise ValueError(f"Samples must have the shape (n), not {values.shape}.")
    return _trine.whisper_mel(values, mel_bands)
