"""Pictures, texts and spoken clips to unit vectors of one space."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import _hub, _inputs, _trine, fetch
from .search import combine_query

if TYPE_CHECKING:
    from .verify import Report

_BATCHES = 8  # that go to the library in one call


class Embedder:
    """Pictures, texts and spoken clips to unit vectors of one space.

    >>> model = trine.Embedder()                                    # doctest: +SKIP
    >>> model.embed_text("a ripe banana").shape                     # doctest: +SKIP
    torch.Size([384])
    >>> model.encode(["a banana", {"image": "photo.jpg", "text": "the red one"}]).shape     # doctest: +SKIP
    torch.Size([2, 384])

    `model`: nothing for the default model (its encoders are fetched when they are not there yet); a directory, which is
    a model of ours or the checkpoint of an encoder (CLIP and SigLIP take images and text); or "org/name" on the Hugging
    Face Hub, at `revision`, through huggingface_hub and its cache, with `local_files_only` without the network.
    FileNotFoundError says what is missing.

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
    - long_input (texts, clips): what becomes of a text over the model's tokens and of a clip over its seconds: "window",
      the default, takes all of it in pieces that overlap and gives the mean of their unit vectors, weighted by length
      and at unit length again; "truncate" takes the beginning only, as transformers and sentence-transformers do, and
      warns; "error" refuses with a ValueError;
    - prompt_name, prompt (texts): what goes before each text, one of the checkpoint's prompts or a str as it is; without
      either the checkpoint's default prompt, if it has one;
    - return_coverage: also how much of each input went into its vector, a `Coverage` of total, used and windows.

    `precision`: what the encoders' linear layers compute with: "fp32", "bf16", "int8", or "auto" for the fastest on this
    machine that keeps a cosine of `accuracy` to fp32, layer by layer; `describe()` says which. RuntimeError where this
    machine does not compute in it. On CUDA "fp16" takes the place of "int8".

    `device`: where the encoders compute, as torch names it: "cpu", "cuda", "cuda:1", a torch.device, or "auto" for CUDA
    where there is any. Inputs are decoded and prepared on the CPU, and vectors are given there. RuntimeError for a device
    that is not there.

    `modalities`: only the towers of these are read, which takes less time and memory; the model is as if it lacked the
    others.

    The same input gives the same vector in any batch and with any number of threads. Calls from several Python threads
    run at the same time: the interpreter's lock is not held.
    """

    def __init__(
        self,
        model: _inputs.PathLike | None = None,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        precision: str = "fp32",
        accuracy: float = 0.999,
        modalities: Iterable[str] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if model is None:
            directory = _default_directory()
        else:
            directory = _hub.locate(_inputs.path(model), revision=revision, local_files_only=local_files_only)
        wanted = None if modalities is None else [_inputs.choice(m, "modality", _inputs.MODALITIES) for m in modalities]
        self._model = _trine.Embedder.load(directory, precision, accuracy, wanted, str(device))

    def embed_image(
        self,
        image: _inputs.ImageLike | list[_inputs.ImageLike],
        *,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
        return_coverage: bool = False,
        draft: bool = False,
    ) -> Any:
        """A picture -> (D), a list of them -> (N, D).

        With `draft` JPEG files (paths and bytes) are decoded at 1/8, 1/4 or 1/2 of their size where that is still enough
        for the model: photos of 12 megapixels in a third of the time, a little different. docs/speed.md says how much of both.

        >>> model.embed_image(["photo.jpg", PIL.Image.open("other.png")]).shape     # doctest: +SKIP
        torch.Size([2, 384])
        """
        options = _Options(
            batch_size, show_progress_bar, convert_to_numpy, truncate_dim, return_coverage, draft=draft
        )
        return self._embed("image", image, options)

    def embed_text(
        self,
        text: str | list[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        long_input: str = "window",
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
            batch_size, show_progress_bar, convert_to_numpy, truncate_dim, return_coverage, long_input, prompt_name, prompt
        )
        return self._embed("text", text, options)

    def embed_audio(
        self,
        audio: _inputs.AudioLike | list[_inputs.AudioLike],
        *,
        long_input: str = "window",
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
        options = _Options(batch_size, show_progress_bar, convert_to_numpy, truncate_dim, return_coverage, long_input)
        return self._embed("audio", audio, options)

    def embed_video(
        self,
        video: Any,
        *,
        frames_per_second: float | None = None,
        frames: int = 0,
        batch_size: int = 32,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:
        """What is seen in a video -> (D), in a list of them -> (N, D): the mean of its frames' vectors, at unit length again.

        Of PE-AV it is what the model makes of the frames together, in their order. A video is a file or its bytes, an array
        (T, H, W, 3), a tensor (T, 3, H, W) or (T, H, W, 3), or a list of pictures. Of a file those frames are taken that the
        model's processor would take, one a second where it has no such rule; or `frames_per_second` of them, or `frames`
        spread evenly. Frames that are given are all taken, by PE-AV those that its processor takes. `VideoSearch` also hears
        a video, reads its subtitles and finds moments.

        >>> model.embed_video("clip.mp4").shape                                    # doctest: +SKIP
        torch.Size([384])
        """
        options = _Options(batch_size, convert_to_numpy=convert_to_numpy, truncate_dim=truncate_dim)
        videos, single = _inputs.videos(video)
        how = (_inputs.frames_per_second(frames_per_second), frames, batch_size)
        vectors = [torch.empty(0, self.dim)]
        for i, one in enumerate(videos):
            call = lambda value: self._model.embed_video(_inputs.video(value), *how)
            vectors.append(_named(i, len(videos), call, one)[None])
        return options.result(torch.cat(vectors), [], single)

    def embed(
        self,
        *,
        image: _inputs.ImageLike | None = None,
        text: str | None = None,
        audio: _inputs.AudioLike | None = None,
        weights: Mapping[str, float] | None = None,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
        long_input: str = "window",
        return_coverage: bool = False,
    ) -> Any:
        """What one thing looks like, reads like and sounds like, any subset of it -> (D), the weighted mean.

        `weights` are by modality, by default 1 for image and text and 0.5 for audio; negative: away from it.

        >>> model.embed(image="photo.jpg", text="the red one", weights={"text": 2})     # doctest: +SKIP
        """
        options = _Options(
            convert_to_numpy=convert_to_numpy,
            truncate_dim=truncate_dim,
            return_coverage=return_coverage,
            long_input=long_input,
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
        long_input: str = "window",
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
        coverage is one dict by modality for each input. A text has the vector that `embed_text` gives it, so
        long_input="truncate" is what gives a long one that of sentence-transformers' `encode`.

        >>> model.encode(["a banana", Path("photo.jpg"), {"text": "this", "audio": "question.wav"}])    # doctest: +SKIP
        """
        items, single = _inputs.split(inputs)
        options = _Options(
            batch_size, show_progress_bar, convert_to_numpy, truncate_dim, return_coverage, long_input, prompt_name, prompt
        )
        return self._encode(items, single, weights, options)

    @staticmethod
    def similarity(a: Any, b: Any) -> torch.Tensor:
        """Cosines between the rows of two sets of vectors, (N, D) and (M, D) -> (N, M); a single vector is one row.

        >>> trine.Embedder.similarity([[1, 0]], [[0, 1], [1, 0]])
        tensor([[0., 1.]])
        """
        return _trine.Embedder.similarity(*(torch.from_numpy(_inputs.vector(v).copy()) for v in (a, b)))

    def probabilities(self, inputs: Any, texts: list[str], *, batch_size: int = 32) -> torch.Tensor:
        """What each of M texts is worth for a picture or clip -> (M), for a list of them -> (N, M).

        As the checkpoint was trained: shares of the texts that sum to 1 (CLIP: transformers'
        `logits_per_image.softmax(-1)`), or each text on its own in 0 to 1 (SigLIP: `logits_per_image.sigmoid()`). A model
        of ours has neither, but a calibration: the softmax of cosine / temperature. Any other is a ValueError;
        `similarity` gives the cosines. PE's models score features before they get unit length (`logits_audio_text.sigmoid()`,
        `logits_video_text.sigmoid()`), clips and texts that fit without windows.

        >>> model.probabilities("photo.jpg", ["a photo of a cat", "a photo of a dog"])      # doctest: +SKIP
        tensor([0.9931, 0.0069])
        """
        items, single = _inputs.split(inputs)
        heard_or_seen = [m for m in ("image", "audio") if self.supports(m)]
        found = [_named(i, len(items), _inputs.image_or_audio, item, heard_or_seen) for i, item in enumerate(items)]
        _check_batch_size(batch_size)
        present = sorted({modality for modality, _ in found})
        for modality in present:
            self._model.scoring_kind(modality)  # refuses before anything is worked out
        candidates = [_inputs.text(text) for text in _inputs.split(texts)[0]]
        shares = torch.empty(len(items), len(candidates))
        for modality in present:
            values = {i: value for i, (m, value) in enumerate(found) if m == modality}
            if modality == "image":
                given = [_named(i, len(items), _inputs.image, value) for i, value in values.items()]
                shares[list(values)] = self._model.image_probabilities(given, candidates, batch_size)
            else:
                given = [_named(i, len(items), _inputs.audio, value, 0) for i, value in values.items()]
                shares[list(values)] = self._model.audio_probabilities(given, candidates)
        return shares[0] if single else shares

    def video_probabilities(
        self,
        video: Any,
        texts: list[str],
        *,
        frames_per_second: float | None = None,
        frames: int = 0,
        batch_size: int = 32,
    ) -> torch.Tensor:
        """`probabilities` of a video -> (M), of a list of them -> (N, M); what a video may be says `embed_video`.

        >>> model.video_probabilities("clip.mp4", ["a dog barks", "a cat sleeps"])      # doctest: +SKIP
        tensor([0.9712, 0.0104])
        """
        _check_batch_size(batch_size)
        videos, single = _inputs.videos(video)
        candidates = [_inputs.text(text) for text in _inputs.split(texts)[0]]
        how = (_inputs.frames_per_second(frames_per_second), frames, batch_size)
        shares = torch.empty(len(videos), len(candidates))
        for i, one in enumerate(videos):
            call = lambda value: self._model.video_probabilities(_inputs.video(value), candidates, *how)
            shares[i] = _named(i, len(videos), call, one)
        return shares[0] if single else shares

    def preprocess_image(self, image: _inputs.ImageLike, *, draft: bool = False) -> torch.Tensor:
        """What of a picture enters the network: resized, cropped, normalised -> (3, H, W). `draft`: as of `embed_image`.

        >>> model.preprocess_image("photo.jpg").shape               # doctest: +SKIP
        torch.Size([3, 224, 224])
        """
        return self._model.preprocess_image(_inputs.image(image), draft)

    def preprocess_audio(self, audio: _inputs.AudioLike) -> torch.Tensor:
        """What of a clip enters the network: mel (bands, frames), or samples (n) at the network's rate.

        The clip must fit into one call, see `describe()["audio.windows"]`.

        >>> model.preprocess_audio("question.wav").shape            # doctest: +SKIP
        torch.Size([80, 212])
        """
        return self._model.preprocess_audio(_inputs.audio(audio, 0))

    def tokenize(self, text: str) -> list[int]:
        """The ids of a text that enter the network: special tokens included, cut as "truncate" does, without a prompt.

        >>> model.tokenize("a ripe banana")                         # doctest: +SKIP
        [101, 1037, 22503, 15212, 102]
        """
        return self._model.tokenize(_inputs.text(text))

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
    def device(self) -> torch.device:
        """Where the encoders compute. Vectors are given on the CPU.

        >>> trine.Embedder(device="auto").device                                    # doctest: +SKIP
        device(type='cuda', index=0)
        """
        return torch.device(self._model.device)

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

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of all that decides the vectors: files, description, changed weights. Reads all of them."""
        return self._model.fingerprint()

    def weights(self, modality: str) -> dict[str, torch.Tensor]:
        """What an optimiser may change in place: the weights of a tower, from the input to the vector, by their names.

        Vectors depend on them under `RecordGradients`, the only time that gradients are recorded. From the first call on
        the tower works with a copy of its own; no other call may run then. ValueError for a modality that the model lacks
        and for a family that cannot be trained. `trine.train.fit(..., tune=[modality])` does all of this.

        >>> optimiser = torch.optim.AdamW(model.weights("text").values(), 2e-5)     # doctest: +SKIP
        >>> with trine.RecordGradients():                                           # doctest: +SKIP
        ...     loss = 1 - model.embed_text("a lemon") @ model.embed_image("lemon.jpg")
        >>> loss.backward(); optimiser.step(); model.save("tuned")                  # doctest: +SKIP
        """
        return self._model.weights(modality)

    def save(self, directory: _inputs.PathLike) -> None:
        """Writes a model folder with the weights as they are, for `Embedder(directory)`, C++ and the `trine` command.

        ValueError for the folder that the model was loaded from.

        >>> model.save("tuned")                                     # doctest: +SKIP
        """
        self._model.save(_inputs.path(directory))

    def verify(self, *, against: _inputs.PathLike | None = None, golden: bool = False) -> Report:
        """Compares every stage with the reference implementation, see `trine.verify.verify`; print it to read the table.

        >>> model.verify().passed                                   # doctest: +SKIP
        True
        """
        from .verify import verify

        return verify(self.directory, against=against, golden=golden)

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
        self, modality: str, values: dict[int, Any], options: _Options, bar: _Bar | None = None
    ) -> tuple[torch.Tensor, dict[int, dict]]:
        """{position: value} -> (N, D), {position: coverage}"""
        embed, convert = getattr(self._model, f"embed_{modality}s"), getattr(_inputs, modality)
        if modality == "audio":  # at its own rate: the model's may be higher than the default
            convert = functools.partial(_inputs.audio, sample_rate=0)
        batch_size, settings = options.batch_size, options.of(modality)
        positions = list(values)
        # files of several batches go together: one is read while another is computed
        small = (str, os.PathLike, bytes) if modality == "image" else (str, os.PathLike)
        together = batch_size * (_BATCHES if all(isinstance(v, small) for v in values.values()) else 1)
        parts, coverage = [torch.empty(0, self.dim)], {}
        for start in range(0, max(len(positions), 1), together):
            batch = positions[start : start + together]
            vectors, covered = embed([_named(i, len(values), convert, values[i]) for i in batch], batch_size, **settings)
            parts.append(vectors)
            coverage.update(zip(batch, map(Coverage, covered)))
            if bar:
                bar.advance(len(batch))
        _warn_if_cut(coverage, modality)
        return torch.cat(parts), coverage


class RecordGradients:
    """While it lasts, embeddings made in this thread are functions of `Embedder.weights`, for autograd.

    >>> with trine.RecordGradients():                               # doctest: +SKIP
    ...     loss = model.embed_text(texts).var()
    """

    def __enter__(self) -> RecordGradients:
        self._recording = _trine.RecordGradients()
        return self

    def __exit__(self, *error: object) -> None:
        self._recording = None


class Coverage(dict):
    """How much of an input went into its vector; `coverage.windows` is `coverage["windows"]`.

    >>> _, coverage = model.embed_text(book, return_coverage=True)                  # doctest: +SKIP
    >>> coverage.windows[:2]                                                        # doctest: +SKIP
    [(0, 1061), (921, 1980)]
    """

    @property
    def total(self) -> float:
        """Tokens of a text, prompt and special tokens included; seconds of a clip; 1 for a picture."""
        return self["total"]

    @property
    def used(self) -> float:
        """Of the total; less only where long_input="truncate" cut."""
        return self["used"]

    @property
    def windows(self) -> list[tuple[float, float]]:
        """[first, last) of each piece, in characters of a text or seconds of a clip; empty for a picture."""
        return self["windows"]


class Description(dict):
    """What `Embedder.describe` tells, {"text.pooling": ..., "text.pooling.source": ...}; printed one fact a line.

    A fact's source, where it has one, is the file and the keys that say so; it stands behind the fact.
    """

    def __str__(self) -> str:
        facts = {name: fact for name, fact in self.items() if not name.endswith(".source")}
        width = max(map(len, facts), default=0)
        sources = {name: f"  [{self[f'{name}.source']}]" for name in facts if f"{name}.source" in self}
        return "\n".join(f"{name:<{width}}  {fact}{sources.get(name, '')}" for name, fact in facts.items())


class _Options:
    """What all methods that embed have in common."""

    def __init__(
        self,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = False,
        truncate_dim: int | None = None,
        return_coverage: bool = False,
        long_input: str = "window",
        prompt_name: str | None = None,
        prompt: str | None = None,
        draft: bool = False,
    ) -> None:
        _check_batch_size(batch_size)
        self.batch_size, self.show_progress_bar = batch_size, show_progress_bar
        self.convert_to_numpy, self.truncate_dim = convert_to_numpy, truncate_dim
        self.return_coverage, self.draft = return_coverage, bool(draft)
        self.long_input = _inputs.choice(long_input, "long_input", ("window", "truncate", "error"))
        given = {"prompt_name": prompt_name, "prompt": prompt}
        self.prompts = {key: _inputs.text(value, key) for key, value in given.items() if value is not None}

    def of(self, modality: str) -> dict[str, Any]:
        """What the library's method for a modality takes besides the inputs and the batch size."""
        if modality == "image":
            return {"draft": self.draft}
        return {"long_input": self.long_input, **(self.prompts if modality == "text" else {})}

    def result(self, vectors: torch.Tensor, coverage: list, single: bool) -> Any:
        if self.truncate_dim is not None:
            if not 1 <= self.truncate_dim <= vectors.shape[1]:
                raise ValueError(f"truncate_dim must be 1 to {vectors.shape[1]}, not {self.truncate_dim}.")
            vectors = torch.nn.functional.normalize(vectors[:, : self.truncate_dim], dim=1)
        vectors = vectors[0] if single else vectors
        result = vectors.numpy() if self.convert_to_numpy else vectors
        return (result, coverage[0] if single else coverage) if self.return_coverage else result


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


def _named(position: int, count: int, convert: Any, *values: Any) -> Any:
    """convert(*values); where there are several inputs an error says which it was."""
    try:
        return convert(*values)
    except (TypeError, ValueError) as error:
        if count == 1:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"Input {position}: {error}") from error


def _warn_if_cut(coverage: dict[int, dict], modality: str = "text") -> None:
    cut = [i for i, c in coverage.items() if c["used"] < c["total"]]
    if cut:
        used = coverage[cut[0]]["used"]
        what, limit = ("clips", f"{used:.1f} s") if modality == "audio" else ("texts", f"{used} tokens")
        shown = ", ".join(map(str, cut[:10])) + (", ..." if len(cut) > 10 else "")
        warnings.warn(
            f"{len(cut)} of {len(coverage)} {what} are longer than {limit} and were cut there (inputs {shown}); "
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
