"""One tower alone: features as the reference implementation gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from . import _hub, _inputs, _trine
from .embedder import Description, _named


def load_encoder(
    model: _inputs.PathLike,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    precision: str = "fp32",
    accuracy: float = 0.999,
    device: str | torch.device = "cpu",
) -> _trine.ImageEncoder | _trine.TextEncoder | _trine.AudioEncoder | _trine.Encoders:
    """The encoder that a checkpoint holds: ImageEncoder, TextEncoder or AudioEncoder, or Encoders of several.

    It gives the features themselves, before any head; `Embedder` is what puts them into one space.

    `model`: a directory, or "org/name" on the Hugging Face Hub, at `revision`, with `local_files_only` from its cache
    alone. FileNotFoundError for what is not there, RuntimeError for what cannot be read. `precision`, `accuracy` and
    `device` as at `Embedder`.

    >>> encoder = trine.load_encoder("all-MiniLM-L6-v2")        # doctest: +SKIP
    >>> encoder.encode(["the red one"]).shape                   # doctest: +SKIP
    torch.Size([1, 384])
    """
    directory = _hub.locate(_inputs.path(model), revision=revision, local_files_only=local_files_only)
    return _trine.load_encoder(directory, precision, accuracy, str(device))


class Encoder:
    """One tower of a checkpoint: the features themselves, before any head, projection or unit length of ours.

    >>> encoder = trine.Encoder("whisper-tiny.en")              # doctest: +SKIP
    >>> encoder.features("question.wav").shape                  # doctest: +SKIP
    torch.Size([105, 384])

    `directory`: the checkpoint of an encoder, or "org/name" on the Hugging Face Hub, at `revision`, with
    `local_files_only` from its cache alone. `modality`: which tower, where it holds several (CLIP, SigLIP). Inputs,
    `precision`, `accuracy` and `device` are those of `Embedder`.
    """

    def __init__(
        self,
        directory: _inputs.PathLike,
        *,
        modality: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        precision: str = "fp32",
        accuracy: float = 0.999,
        device: str | torch.device = "cpu",
    ) -> None:
        self.directory: Path = _hub.locate(_inputs.path(directory), revision=revision, local_files_only=local_files_only)
        loaded = _trine.load_encoder(self.directory, precision, accuracy, str(device))
        kinds = {"image": _trine.ImageEncoder, "text": _trine.TextEncoder, "audio": _trine.AudioEncoder}
        towers = {m: t for m, kind in kinds.items() if isinstance(t := getattr(loaded, m, loaded), kind)}
        if modality is None and len(towers) > 1:
            raise ValueError(f"{self.directory} holds several towers, say which: modality={' or '.join(map(repr, towers))}.")
        self.modality: str = next(iter(towers)) if modality is None else modality
        if self.modality not in towers:
            raise ValueError(f"{self.directory} has no {modality!r} tower, it has {', '.join(towers)}.")
        self._tower = towers[self.modality]

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return self._tower.dim

    def preprocess(self, value: Any) -> torch.Tensor:
        """What enters the network: pixels (3, H, W), token ids (T), or mel (bands, frames) or samples (n).

        >>> encoder.preprocess("question.wav").shape            # doctest: +SKIP
        torch.Size([80, 212])
        """
        if self.modality == "image":
            return self._tower.preprocess(_inputs.image(value))
        if self.modality == "text":
            _inputs.text(value)
            return torch.tensor(self._tower.tokenize(value))
        return self._tower.preprocess(self._clip(value))

    def features(self, value: Any) -> Any:
        """Of a picture or a text, pooled as the checkpoint says (D), of a clip (T, D); of a list of them a list.

        A text is cut at the encoder's tokens, a clip must fit into one call.

        >>> trine.Encoder("clip-vit-base-patch32", modality="image").features("photo.jpg").shape    # doctest: +SKIP
        torch.Size([512])
        """
        items, single = _inputs.split(value)
        found = [_named(i, len(items), self._features, item) for i, item in enumerate(items)]
        return found[0] if single else found

    def describe(self) -> Description:
        """What happens to an input on its way to features; print it to read it."""
        return Description(self._tower.describe())

    def __repr__(self) -> str:
        return f"Encoder({str(self.directory)!r}, modality={self.modality!r}, dim={self.dim})"

    def _features(self, value: Any) -> torch.Tensor:
        if self.modality == "image":
            return self._tower.encode(self.preprocess(value)[None])[0]
        if self.modality == "text":
            _inputs.text(value)
            return self._tower.encode([value])[0]
        return self._tower.encode(self._clip(value))

    def _clip(self, value: Any) -> _inputs.Clip:
        clip = _inputs.audio(value, 0)
        return _trine.read_audio(clip, 0) if isinstance(clip, str) else clip
