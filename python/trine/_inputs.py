"""What Python users hold (paths, bytes, PIL images, arrays, tensors) as what the library takes.

text -> UTF-8; image -> a path or pixels, uint8 (H, W, 3); audio -> a path or (float32 samples (n), rate in Hz).
"""

from __future__ import annotations

import mimetypes
import os
import sys
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch

from . import _trine

MODALITIES = ("image", "text", "audio")
DEFAULT_RATE = 16_000  # Hz, of samples that come without a rate

Pixels = np.ndarray
Clip = tuple[np.ndarray, int]
PathLike = Union[str, os.PathLike]
ImageLike = Any  # path, bytes, PIL.Image, array, tensor
AudioLike = Any  # path, bytes, array, tensor, (samples, rate), {"array": ..., "sampling_rate": ...}


def text(value: str, what: str = "text") -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"A {what} must be a str, not {_kind(value)}.")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        bad = value[error.start]
        raise ValueError(f"A {what} must be valid Unicode: character {error.start} is the surrogate {bad!r}.") from None


def path(value: PathLike) -> str:
    name = os.fsdecode(value)
    if "\0" in name:
        raise ValueError(f"A path cannot hold the character NUL: {name!r}.")
    return name


def file(value: PathLike | bytes, what: str) -> str | bytes:
    """A path, or the bytes of a file."""
    if _is_bytes(value):
        return bytes(value)
    if isinstance(value, (str, os.PathLike)):
        return path(value)
    raise TypeError(f"A {what} must be a path or the bytes of a file, not {_kind(value)}.")


def image(value: ImageLike) -> str | bytes | Pixels:
    """A file as it is, by its path or its bytes, all else as pixels."""
    if _is_bytes(value) or isinstance(value, (str, os.PathLike)):
        return file(value, "picture")
    if _is_pil(value):
        return np.array(value.convert("RGB"))
    pixels = _array(value, "an image")
    if isinstance(value, torch.Tensor) and pixels.ndim == 3 and pixels.shape[0] == 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        wanted = "(H, W, 3), (H, W)" + (" or (3, H, W)" if isinstance(value, torch.Tensor) else "")
        raise ValueError(f"An image must have the shape {wanted}, not {tuple(value.shape)}.")
    if pixels.dtype.kind == "f":
        if not ((pixels >= 0) & (pixels <= 1)).all():
            raise ValueError("An image of floats must lie in 0 to 1; for 0 to 255 make it uint8.")
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise TypeError(f"An image must be uint8, or floats in 0 to 1, not {pixels.dtype}.")
    return np.ascontiguousarray(pixels)


def pixels(value: ImageLike, draft_side: int = 0) -> Pixels:
    """The same, with files read."""
    given = image(value)
    if isinstance(given, bytes):
        return _trine.decode_image(given, draft_side)
    return _trine.read_image(given, draft_side) if isinstance(given, str) else given


def audio(value: AudioLike, sample_rate: int = DEFAULT_RATE) -> str | Clip:
    """`sample_rate`: of the result where it is samples; 0 keeps theirs."""
    if isinstance(value, (str, os.PathLike)):
        return path(value)
    if _is_bytes(value):
        return _trine.decode_audio(bytes(value), sample_rate)
    samples, rate = value, DEFAULT_RATE
    if isinstance(value, Mapping):
        if not {"array", "sampling_rate"} <= set(value):
            raise ValueError(f"A dict of audio must have array and sampling_rate, not {', '.join(map(str, value))}.")
        samples, rate = value["array"], value["sampling_rate"]
    elif _is_clip(value):
        samples, rate = value
    if not isinstance(rate, Real) or isinstance(rate, bool):
        raise TypeError(f"A sample rate must be a number, not {_kind(rate)}.")
    if not 0 < rate < 1_000_000 or rate % 1:
        raise ValueError(f"A sample rate must be a whole number from 1000 to 768000 Hz, not {rate}.")
    shape = np.shape(samples)
    samples = _array(samples, "a clip")
    if samples.dtype in (np.int16, np.int32):
        samples = samples / -float(np.iinfo(samples.dtype).min)
    if samples.dtype.kind != "f":
        raise TypeError(f"Samples must be int16, int32 or floats, not {samples.dtype}.")
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2 or not 0 < len(samples) <= 64:
        raise ValueError(f"A clip must have the shape (n) or (channels, n) with at most 64 channels, not {shape}.")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused
        frames = np.ascontiguousarray(samples.T, dtype=np.float32)
    return _trine.make_audio(frames, int(rate), sample_rate)


def vector(value: Any, what: str = "vector") -> np.ndarray:
    """-> contiguous float32; shape and finiteness are for the library to check."""
    if type(value) is np.ndarray and value.dtype == np.float32:  # the usual, at once
        return np.ascontiguousarray(value)
    numbers = _array(value, f"a {what}")
    if numbers.dtype.kind not in "fiub":
        raise TypeError(f"A {what} must hold numbers, not {numbers.dtype}.")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(numbers, dtype=np.float32)


def weights(value: Mapping[str, float] | None) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"Weights must be a dict like {{'image': 1, 'audio': 0.5}}, not {_kind(value)}.")
    _check_names(value)
    for name, weight in value.items():
        if not isinstance(weight, Real) or not np.isfinite(weight):
            raise ValueError(f"The weight of the {name} must be a finite number, not {weight!r}.")
    return {name: float(weight) for name, weight in value.items()}


def by_modality(value: Any) -> dict[str, Any]:
    """One input of `encode` as {modality: value}, in the order of MODALITIES."""
    if isinstance(value, Mapping) and "array" not in value:
        _check_names(value)
        given = {name: value[name] for name in MODALITIES if value.get(name) is not None}
        if not given:
            raise ValueError("An input must have an image, a text or an audio clip; there is none.")
        return given
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, os.PathLike):
        kind = (mimetypes.guess_type(os.fsdecode(value))[0] or "").split("/")[0]
        if kind not in ("image", "audio"):
            raise ValueError(f"{value} is no picture or clip by its name; say what it is: {{'image': path}}.")
        return {kind: value}
    if isinstance(value, Mapping) or _is_clip(value) or getattr(value, "ndim", None) == 1 and not _is_bytes(value):
        return {"audio": value}
    if _is_pil(value) or hasattr(value, "ndim") and not _is_bytes(value):
        return {"image": value}
    raise TypeError(f"{_kind(value)} may be anything; say what it is: {{'image': ...}}, {{'audio': ...}}.")


def image_or_audio(value: Any, supported: list[str]) -> tuple[str, Any]:
    """What a picture or clip is, and it itself; `supported`: which of them a model takes."""
    if len(supported) == 1 and not (isinstance(value, Mapping) and "array" not in value):
        return supported[0], value
    given = by_modality(Path(value) if isinstance(value, str) else value)
    if len(given) != 1 or "text" in given:
        raise ValueError(f"A picture or a clip is wanted, not {' and '.join(given)}.")
    return next(iter(given.items()))


def videos(value: Any) -> tuple[list[Any], bool]:
    """The videos as a list, each by its frames or as a file, and whether there was but one."""
    if isinstance(value, (list, tuple)) and value:
        if all(_is_video(v) for v in value) or all(_is_video_file(v) for v in value):
            return list(value), False
    return [value], True


def video(value: Any) -> str | bytes | list[Pixels]:
    """A path, the bytes of a file, or frames."""
    if isinstance(value, (str, os.PathLike)) or _is_bytes(value):
        return file(value, "video")
    return [pixels(frame) for frame in frames(value)]


def frames_per_second(value: float | None) -> float:
    """0: the model's own choice."""
    if value is not None and (not isinstance(value, Real) or not value > 0):
        raise ValueError(f"frames_per_second must be above 0, or None for the model's own choice, not {value!r}.")
    return 0 if value is None else float(value)


def frames(value: Any) -> list[Any]:
    """The frames of one video, of whatever kind."""
    if not (_is_video(value) or isinstance(value, (list, tuple))):
        raise ValueError("A video is a file, an array (T, H, W, 3), a tensor (T, 3, H, W) or a list of pictures.")
    if not len(value):
        raise ValueError("A video must have at least one frame.")
    return list(value)


def choice(value: str, what: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{what} must be {', '.join(known[:-1])} or {known[-1]}, not {value!r}.")
    return value


def split(value: Any) -> tuple[list[Any], bool]:
    """The inputs as a list, and whether there was but one."""
    if isinstance(value, (str, os.PathLike, Mapping)) or _is_bytes(value) or _is_clip(value) or _is_pil(value):
        return [value], True
    if hasattr(value, "ndim"):  # an array is one input, unless it is one of strings or a batch of pictures
        many = value.ndim == 4 or value.ndim == 1 and getattr(value.dtype, "kind", "") in ("O", "U", "T")
        return (list(value), False) if many else ([value], True)
    return (list(value), False) if isinstance(value, Iterable) else ([value], True)


def _check_names(value: Mapping) -> None:
    for name in value:
        if name not in MODALITIES:
            raise ValueError(f"{name!r} is no modality: wanted {', '.join(MODALITIES)}.")


def _array(value: Any, what: str) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if not hasattr(value, "__array__") and not isinstance(value, (list, tuple)):
        raise TypeError(f"{_kind(value)} is not {what}.")
    return np.asarray(value)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))


def _is_clip(value: Any) -> bool:
    """(samples, rate)"""
    return isinstance(value, tuple) and len(value) == 2 and hasattr(value[0], "ndim") and isinstance(value[1], Real)


def _is_video(value: Any) -> bool:
    return getattr(value, "ndim", None) == 4 or isinstance(value, (list, tuple)) and not _is_clip(value)


def _is_video_file(value: Any) -> bool:
    """By its name; a list of other paths is one of pictures."""
    if not isinstance(value, (str, os.PathLike)):
        return False
    kind = mimetypes.guess_type(os.fsdecode(value))[0] or ""
    return kind.startswith("video/") or os.fsdecode(value).lower().endswith((".mkv", ".webm", ".gif"))


def _is_pil(value: Any) -> bool:
    pil = sys.modules.get("PIL.Image")  # who holds a PIL image has imported it
    return pil is not None and isinstance(value, pil.Image)


def _kind(value: Any) -> str:
    return type(value).__name__
