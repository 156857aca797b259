"""The encoders of a checkpoint, by themselves."""

from __future__ import annotations

from . import _hub, _inputs, _trine


def load_encoder(
    model: _inputs.PathLike, *, revision: str | None = None, local_files_only: bool = False
) -> _trine.ImageEncoder | _trine.TextEncoder | _trine.AudioEncoder | _trine.Encoders:
    """The encoder that a checkpoint holds: ImageEncoder, TextEncoder or AudioEncoder, or Encoders of several.

    It gives the features themselves, before any head; `Embedder` is what puts them into one space.

    `model`: a directory, or "org/name" on the Hugging Face Hub, at `revision`, with `local_files_only` from its cache
    alone. FileNotFoundError for what is not there, RuntimeError for what cannot be read.

    >>> encoder = trine.load_encoder("all-MiniLM-L6-v2")        # doctest: +SKIP
    >>> encoder.encode(["the red one"]).shape                   # doctest: +SKIP
    torch.Size([1, 384])
    """
    return _trine.load_encoder(_hub.locate(_inputs.path(model), revision=revision, local_files_only=local_files_only))
