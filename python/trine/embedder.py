"""Pictures, texts and spoken clips to unit vectors of one space."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from . import _inputs, _trine, fetch
from .search import combine_query

_HUB_FILES = ["*.json", "*.safetensors", "*.txt"]
_HUB_IGNORED = ["onnx/*", "openvino/*"]


class Embedder:
    """Pictures, texts and spoken clips to unit vectors of one space.

    >>> model = trine.Embedder()                                    # doctest: +SKIP
    >>> model.embed_text("a ripe banana").shape                     # doctest: +SKIP
    torch.Size([384])
    >>> model.encode(["a banana", {"image": "photo.jpg", "text": "the red one"}]).shape     # doctest: +SKIP
    torch.Size([2, 384])

    `model`: nothing for the default model (its encoders are fetched when they are not there yet); a directory, which is
    a model of ours or the checkpoint of an encoder (CLIP and SigLIP take images and text); or "org/name" on the Hugging Face Hub, at `revision`.

    What an input may be:

    - image: a path, the bytes of a file, a PIL image, an array (H, W, 3) or (H, W), or a tensor (3, H, W) or (H, W, 3);
      uint8, or floats in 0 to 1;
    - text: a str;
    - audio: a path, the bytes of a file, samples (n) or (channels, n) at 16 kHz, (samples, rate), or
      {"array": samples, "sampling_rate": rate}; floats in -1 to 1, int16 or int32.

    One input gives a vector (D), a list of them (N, D), of unit length. Options of all methods that embed:

    - batch_size: inputs that are worked on at a time; the vectors do not depend on it;
    - show_progress_bar: on stderr;
    - convert_to_numpy: NumPy arrays instead of tensors;
    - truncate_dim: the first values only, at unit length again;
    - prompt_name, prompt (texts): what goes before each text, one of the checkpoint's prompts or a str as it is; without
      either the checkpoint's default prompt, if it has one;
    - return_coverage: also how much of each input went into its vector, {"total", "used", "windows"}: tokens of a text,
      seconds of a clip. A text that is cut is also a warning.

    The same input gives the same vector in any batch and with any number of threads. Calls from several Python threads
    run at the same time: the interpreter's lock is not held.
    """

    def __init__(self, model: _inputs.PathLike | None = None, *, revision: str | None = None) -> None:
        if model is None:
            directory = _default_directory()
        else:
            directory = _locate(_inputs.path(model), revision)
        self._model = _trine.Embedder.load(directory)

    def embed_image(
        self,
        image: _inputs.ImageLike | list[_inputs.ImageLike],
        *,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
        return_coverage: bool = False,
    ) -> Any:
        """A picture -> (D), a list of them -> (N, D).

        >>> model.embed_image(["photo.jpg", PIL.Image.open("other.png")]).shape     # doctest: +SKIP
        torch.Size([2, 384])
        """
        options = _Options(batch_size, show_progress_bar, convert_to_numpy, truncate_dim, return_coverage)
        return self._embed("image", image, options)

    def embed_text(
        self,
        text: str | list[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
        return_coverage: bool = False,
    ) -> Any:
        """A text -> (D), a list of them -> (N, D).

        >>> model.embed_text(["a ripe banana", "a red apple"]).shape                # doctest: +SKIP
        torch.Size([2, 384])
        >>> model.embed_text("a ripe banana", prompt_name="query").shape            # doctest: +SKIP
        torch.Size([384])
        """
        options = _Options(
            batch_size, show_progress_bar, convert_to_numpy, truncate_dim, return_coverage, prompt_name, prompt
        )
        return self._embed("text", text, options)

    def embed_audio(
        self,
        audio: _inputs.AudioLike | list[_inputs.AudioLike],
        *,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
        return_coverage: bool = False,
    ) -> Any:
        """A spoken clip -> (D), a list of them -> (N, D).

        >>> model.embed_audio(["question.wav", (samples, 44_100)]).shape            # doctest: +SKIP
        torch.Size([2, 384])
        """
        options = _Options(batch_size, show_progress_bar, convert_to_numpy, truncate_dim, return_coverage)
        return self._embed("audio", audio, options)

    def embed(
        self,
        *,
        image: _inputs.ImageLike | None = None,
        text: str | None = None,
        audio: _inputs.AudioLike | None = None,
        weights: Mapping[str, float] | None = None,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
        return_coverage: bool = False,
    ) -> Any:
        """What one thing looks like, reads like and sounds like, any subset of it -> (D), the weighted mean.

        `weights` are by modality, by default 1 for image and text and 0.5 for audio; negative: away from it.

        >>> model.embed(image="photo.jpg", text="the red one", weights={"text": 2})     # doctest: +SKIP
        """
        options = _Options(
            convert_to_numpy=convert_to_numpy, truncate_dim=truncate_dim, return_coverage=return_coverage
        )
        return self._encode([{"image": image, "text": text, "audio": audio}], True, weights, options)

    def embed_each(
        self,
        *,
        image: _inputs.ImageLike | None = None,
        text: str | None = None,
        audio: _inputs.AudioLike | None = None,
    ) -> dict[str, torch.Tensor]:
        """What `embed` would combine: {modality: (D)} of what is there.

        >>> list(model.embed_each(image="photo.jpg", text="the red one"))              # doctest: +SKIP
        ['image', 'text']
        """
        vectors, _ = self._each([{"image": image, "text": text, "audio": audio}], _Options())
        return {modality: rows[0] for modality, rows in vectors.items()}

    def encode(
        self,
        inputs: Any,
        *,
        weights: Mapping[str, float] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
        return_coverage: bool = False,
    ) -> Any:
        """Anything -> (D), a list of anything -> (N, D).

        A str is a text; PIL images and arrays of two or three dimensions are pictures; arrays of one dimension,
        (samples, rate) and {"array", "sampling_rate"} are audio; a pathlib.Path is what its suffix says; a dict
        {"image": ..., "text": ..., "audio": ...} is one thing known by several modalities, combined by `weights`. The
        coverage is one dict by modality for each input.

        >>> model.encode(["a banana", Path("photo.jpg"), {"text": "this", "audio": "question.wav"}])    # doctest: +SKIP
        """
        items, single = _inputs.split(inputs)
        options = _Options(
            batch_size, show_progress_bar, convert_to_numpy, truncate_dim, return_coverage, prompt_name, prompt
        )
        return self._encode(items, single, weights, options)

    @staticmethod
    def similarity(a: Any, b: Any) -> torch.Tensor:
        """Cosines between the rows of two sets of vectors, (N, D) and (M, D) -> (N, M); a single vector is one row.

        >>> trine.Embedder.similarity([[1, 0]], [[0, 1], [1, 0]])
        tensor([[0., 1.]])
        """
        rows = [torch.atleast_2d(torch.from_numpy(_inputs.vector(v).copy())) for v in (a, b)]
        if rows[0].shape[1:] != rows[1].shape[1:] or rows[0].ndim != 2:
            raise ValueError(f"Wanted (N, D) and (M, D), got {tuple(rows[0].shape)} and {tuple(rows[1].shape)}.")
        unit_a, unit_b = (torch.nn.functional.normalize(r, dim=1) for r in rows)
        return unit_a @ unit_b.T

    def supports(self, modality: str) -> bool:
        """Whether the model takes "image", "text" or "audio".

        >>> model.supports("image")                                 # doctest: +SKIP
        True
        """
        return self._model.supports(modality)

    @property
    def modalities(self) -> list[str]:
        """What the model takes, of "image", "text" and "audio"."""
        return self._model.modalities

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._model.dim

    @property
    def name(self) -> str:
        """What the model calls itself."""
        return self._model.name

    @property
    def directory(self) -> Path:
        """Where the model was loaded from."""
        return self._model.directory

    def describe(self) -> Description:
        """What happens to an input on its way to a vector, modality by modality; print it to read it.

        >>> model.describe()["text.pooling"]                        # doctest: +SKIP
        'mean over tokens'
        """
        return Description(self._model.describe())

    def __repr__(self) -> str:
        return f"Embedder({str(self.directory)!r}, modalities={self.modalities}, dim={self.dim})"

    def _embed(self, modality: str, value: Any, options: _Options) -> Any:
        items, single = _inputs.split(value)
        bar = _Bar(len(items), options.show_progress_bar)
        vectors, coverage = self._vectors(modality, dict(enumerate(items)), options, bar)
        return options.result(vectors, [coverage[i] for i in range(len(items))], single)

    def _encode(self, items: list, single: bool, weights: Mapping[str, float] | None, options: _Options) -> Any:
        weights = _inputs.weights(weights) if weights is not None else None
        vectors, coverage = self._each(items, options)
        combined = torch.empty(len(items), self.dim)
        for present in {tuple(found) for found in coverage}:
            rows = [i for i, found in enumerate(coverage) if tuple(found) == present]
            parts = {m: torch.stack([vectors[m][i] for i in rows]) for m in present}
            alone = len(parts) == 1 and weights is None
            combined[rows] = parts[present[0]] if alone else combine_query(parts, weights)
        return options.result(combined, coverage, single)

    def _each(
        self, items: list, options: _Options
    ) -> tuple[dict[str, dict[int, torch.Tensor]], list[dict[str, dict]]]:
        """-> {modality: {position in items: (D)}} and, for each item, {modality: coverage}"""
        given = [_named(i, len(items), _inputs.by_modality, item) for i, item in enumerate(items)]
        bar = _Bar(sum(map(len, given)), options.show_progress_bar)
        vectors: dict[str, dict[int, torch.Tensor]] = {}
        coverage: list[dict[str, dict]] = [{} for _ in items]
        for modality in _inputs.MODALITIES:
            values = {i: found[modality] for i, found in enumerate(given) if modality in found}
            if values:
                rows, covered = self._vectors(modality, values, options, bar)
                vectors[modality] = dict(zip(values, rows))
                for i in values:
                    coverage[i][modality] = covered[i]
        return vectors, coverage

    def _vectors(
        self, modality: str, values: dict[int, Any], options: _Options, bar: _Bar
    ) -> tuple[torch.Tensor, dict[int, dict]]:
        """{position: value} -> (N, D), {position: coverage}"""
        embed, convert = getattr(self._model, f"embed_{modality}s"), getattr(_inputs, modality)
        batch_size, prompts = options.batch_size, options.prompts if modality == "text" else {}
        positions = list(values)
        parts, coverage = [torch.empty(0, self.dim)], {}
        for start in range(0, max(len(positions), 1), batch_size):
            batch = positions[start : start + batch_size]
            vectors, covered = embed([_named(i, len(values), convert, values[i]) for i in batch], batch_size, **prompts)
            parts.append(vectors)
            coverage.update(zip(batch, covered))
            bar.advance(len(batch))
        if modality == "text":
            _warn_if_cut(coverage)
        return torch.cat(parts), coverage


class Description(dict):
    """What `Embedder.describe` tells, {"text.pooling": ...}; printed one fact a line."""

    def __str__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:<{width}}  {fact}" for name, fact in self.items())


class _Options:
    """What all methods that embed have in common."""

    def __init__(
        self,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
        return_coverage: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> None:
        _check_batch_size(batch_size)
        self.batch_size, self.show_progress_bar = batch_size, show_progress_bar
        self.convert_to_numpy, self.truncate_dim = convert_to_numpy, truncate_dim
        self.return_coverage = return_coverage
        given = {"prompt_name": prompt_name, "prompt": prompt}
        self.prompts = {key: _inputs.text(value, key) for key, value in given.items() if value is not None}

    def result(self, vectors: torch.Tensor, coverage: list, single: bool) -> Any:
        if self.truncate_dim is not None:
            if not 1 <= self.truncate_dim <= vectors.shape[1]:
                raise ValueError(f"truncate_dim must be 1 to {vectors.shape[1]}, not {self.truncate_dim}.")
            vectors = torch.nn.functional.normalize(vectors[:, : self.truncate_dim], dim=1)
        if single:
            vectors, coverage = vectors[0], coverage[0]
        result = vectors.numpy() if self.convert_to_numpy else vectors
        return (result, coverage) if self.return_coverage else result


def _check_batch_size(batch_size: int) -> None:
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, not {batch_size!r}.")


class _Bar:
    """Progress on stderr."""

    def __init__(self, total: int, shown: bool, what: str = "embedded") -> None:
        self.total, self.shown, self.what, self.done = total, shown, what, 0

    def advance(self, count: int) -> None:
        self.done += count
        if self.shown:
            end = "\n" if self.done >= self.total else ""
            print(f"\r{self.what} {self.done} / {self.total}", end=end, file=sys.stderr, flush=True)


def _named(position: int, count: int, convert: Any, value: Any) -> Any:
    """convert(value); where there are several values an error says which it was."""
    try:
        return convert(value)
    except (TypeError, ValueError) as error:
        if count == 1:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"Input {position}: {error}") from error


def _warn_if_cut(coverage: dict[int, dict]) -> None:
    cut = [i for i, c in coverage.items() if c["used"] < c["total"]]
    if cut:
        limit = int(coverage[cut[0]]["used"])
        shown = ", ".join(map(str, cut[:10])) + (", ..." if len(cut) > 10 else "")
        warnings.warn(
            f"{len(cut)} of {len(coverage)} texts are longer than {limit} tokens and were cut there (inputs {shown}); "
            "return_coverage=True tells by how much.",
            stacklevel=_outside(),
        )


def _outside() -> int:
    """The stacklevel, for `warnings.warn` in our caller, of the first frame outside this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__package__") == __package__:
        level, frame = level + 1, frame.f_back
    return level


def _default_directory() -> Path:
    """The default model, its encoders fetched when they are not there yet."""
    directory = Path(_trine.default_model_directory())
    if (directory / "sources.json").is_file():
        fetch.ensure(directory)
    return directory


def _locate(model: str, revision: str | None) -> Path:
    """The directory itself, or the Hub's files of "org/name"."""
    directory = Path(model)
    if directory.is_dir() or not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        return directory
    try:
        import huggingface_hub
    except ImportError:
        raise FileNotFoundError(
            f"There is no folder {model!r}; for the Hugging Face Hub's models: python3 -m pip install huggingface_hub"
        ) from None
    try:
        return Path(
            huggingface_hub.snapshot_download(
                model, revision=revision, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_IGNORED
            )
        )
    except Exception as error:  # its errors derive from requests', httpx's or the standard library's, by version
        raise FileNotFoundError(f"There is no folder {model!r}, and the Hugging Face Hub gave none: {error}") from error
