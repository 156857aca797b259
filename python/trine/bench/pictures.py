"""Photos to pixels: decoding, resizing, and all of it from the bytes of a JPEG of 640 x 480 to the tensor of a network.

Pillow is the measure: beside each contestant stands by how many of 256 levels its pixels differ from Pillow's.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import _trine
from ..encoder import load_encoder
from ..fetch import _Tensor, write_safetensors
from . import inputs
from .race import Race, ratio, spread
from .report import Report

SIDE = 224
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # CLIP's
Run = Callable[[Any], Any]


def measure(report: Report, race: Race, options: Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [path.read_bytes() for path in inputs.photos(options.photos, Path(folder), 16)]
        tower = _tower(Path(folder))
    decoded = [_trine.decode_image(file) for file in files]
    sizes = [f"{pixels.shape[1]} x {pixels.shape[0]}" for pixels in decoded]
    photos = f"{len(files)} photos of {statistics.mode(sizes)}, {sum(map(len, files)) / len(files) / 1024:.0f} KiB each"
    parts = {
        "JPEG to pixels": (files, _decoders(options)),
        f"pixels to {SIDE} x {SIDE}": (decoded, _resizers(options)),
        f"JPEG to tensor of (3, {SIDE}, {SIDE})": (files, _whole(options, tower)),
    }
    head = ["contestant", "ms per photo", "photos/s", "x trine", "most levels from Pillow", "mean levels"]
    for title, (given, contestants) in parts.items():
        made = {name: [_levels(run(item)) for item in given] for name, run in contestants.items()}
        wanted = made.get("Pillow")
        runs = {name: lambda run=run: [run(item) for item in given] for name, run in contestants.items()}
        seconds = race.run(title, runs)
        table = report.table(f"{title}, {photos}", head, chart="photos/s")
        for name, of in seconds.items():
            off = [np.abs(a - b) for a, b in zip(made[name], wanted)] if wanted else []
            most, mean = max((o.max() for o in off), default=0), float(np.mean([o.mean() for o in off] or [0]))
            each = [s / len(given) for s in of]
            table.row(
                name, spread(each, 1e3, 2), f"{1 / statistics.median(each):.0f}", f"{ratio(of, seconds['trine']):.2f}",
                *((f"{most:.3g}" if most else "0, equal", f"{mean:.3g}") if wanted else ("", "")),
                raw={"seconds": each, "most": float(most), "mean": mean},
            )  # fmt: skip
        report.show(table)


def _levels(made: Any) -> np.ndarray:
    """As numbers of 0 to 255, (H, W, 3): tensors of networks are scaled back."""
    if isinstance(made, torch.Tensor):
        made = (made.double() * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255
        made = made.permute(1, 2, 0).round(decimals=2).numpy()  # 1 / 255 and the division leave less than 0.001
    return np.asarray(made, np.float64)


# --- contestants ------------------------------------------------------------------------------------------------------


def _decoders(options: Namespace) -> dict[str, Run]:
    found: dict[str, Run] = {}
    if "pillow" in options.peers:
        from PIL import Image

        found["Pillow"] = lambda file: np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    if "opencv" in options.peers:
        cv2 = _opencv(options)
        found["OpenCV"] = lambda file: cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    return found | {"trine": _trine.decode_image}


def _box(width: int, height: int) -> tuple[int, int, int, int]:
    """Size after resizing the short side to SIDE, and the corner of the middle."""
    scale = SIDE / min(width, height)
    width, height = (SIDE, int(height * scale)) if width < height else (int(width * scale), SIDE)
    return width, height, (width - SIDE) // 2, (height - SIDE) // 2


def _resizers(options: Namespace) -> dict[str, Run]:
    """The short side to SIDE by a bicubic filter, and the middle of it; ours in two steps, as a caller would."""
    found: dict[str, Run] = {}
    if "pillow" in options.peers:
        from PIL import Image

        def pillow(pixels: np.ndarray) -> np.ndarray:
            width, height, x, y = _box(pixels.shape[1], pixels.shape[0])
            resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
            return np.asarray(resized.crop((x, y, x + SIDE, y + SIDE)))

        found["Pillow"] = pillow
    if "opencv" in options.peers:
        cv2 = _opencv(options)
        for name, filter in {"cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}.items():

            def opencv(pixels: np.ndarray, filter: int = filter) -> np.ndarray:
                width, height, x, y = _box(pixels.shape[1], pixels.shape[0])
                return cv2.resize(pixels, (width, height), interpolation=filter)[y : y + SIDE, x : x + SIDE]

            found[f"OpenCV {name}"] = opencv

    def atorch(pixels: np.ndarray) -> np.ndarray:
        width, height, x, y = _box(pixels.shape[1], pixels.shape[0])
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # channels last, which is torchvision's fast path
        made = torch.nn.functional.interpolate(tensor, (height, width), mode="bicubic", antialias=True)
        return made[0, :, y : y + SIDE, x : x + SIDE].permute(1, 2, 0).numpy()

    def trine(pixels: np.ndarray) -> np.ndarray:
        width, height, x, y = _box(pixels.shape[1], pixels.shape[0])
        return _trine.resize(pixels, width, height, "bicubic")[y : y + SIDE, x : x + SIDE]

    return found | {"torch (torchvision's)": atorch, "trine": trine}


def _whole(options: Namespace, tower: Any) -> dict[str, Run]:
    decoders, resizers = _decoders(options), _resizers(options)
    mean, deviation = np.float32(MEAN), np.float32(STD)

    def normalised(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(((pixels.astype(np.float32) / 255 - mean) / deviation).transpose(2, 0, 1).copy())

    found: dict[str, Run] = {}
    if "pillow" in options.peers:
        found["Pillow"] = lambda file: normalised(resizers["Pillow"](decoders["Pillow"](file)))
        if "transformers" in options.peers:
            found["transformers, Pillow"] = _processor()
    if "opencv" in options.peers:
        found["OpenCV area"] = lambda file: normalised(resizers["OpenCV area"](decoders["OpenCV"](file)))
    return found | {"trine": tower.preprocess}


def _processor() -> Run:
    import transformers as tf
    from PIL import Image

    kind = getattr(tf, "CLIPImageProcessorPil", None) or tf.CLIPImageProcessor
    size, crop = {"shortest_edge": SIDE}, {"height": SIDE, "width": SIDE}
    processor = kind(size=size, crop_size=crop, image_mean=MEAN, image_std=STD)
    return lambda file: processor(Image.open(io.BytesIO(file)), return_tensors="pt")["pixel_values"][0]


def _opencv(options: Namespace) -> Any:
    import cv2

    cv2.setNumThreads(options.threads)
    return cv2


def _tower(folder: Path) -> Any:
    """A tiny vision transformer with CLIP's image processor: what matters of it here is `preprocess`."""
    dim, patch = 32, 32
    positions = (SIDE // patch) ** 2 + 1
    shapes = {
        "embeddings.cls_token": (1, 1, dim),
        "embeddings.position_embeddings": (1, positions, dim),
        "embeddings.patch_embeddings.projection.weight": (dim, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (dim,),
    }
    layer = "encoder.layer.0."
    linear = {
        **{f"attention.attention.{name}": (dim, dim) for name in ("query", "key", "value")},
        "attention.output.dense": (dim, dim), "intermediate.dense": (dim, dim), "output.dense": (dim, dim),
    }  # fmt: skip
    for name, shape in linear.items():
        shapes |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
    for name in (f"{layer}layernorm_before", f"{layer}layernorm_after", "layernorm"):
        shapes |= {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}
    weights = {n: _Tensor("F32", s, np.zeros(s, np.float32).tobytes()) for n, s in shapes.items()}
    write_safetensors(folder / "model.safetensors", weights)
    config = {
        "model_type": "vit", "hidden_size": dim, "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": dim, "image_size": SIDE, "patch_size": patch,
    }  # fmt: skip
    processor = {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": SIDE}, "resample": 3,
        "crop_size": {"height": SIDE, "width": SIDE}, "image_mean": MEAN, "image_std": STD,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return load_encoder(folder)
