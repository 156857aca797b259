"""PE-AV with all its heads: sounds, videos, texts, and what they mean together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import _hub, _inputs, _trine
from .embedder import Description


class PeAudioVideo:
    """What Meta's Perception Encoder makes of a clip, a video and texts, alone and together, and how it compares them.

    >>> model = trine.PeAudioVideo("pe-av-small")                                   # doctest: +SKIP
    >>> found = model.embed(audio="bark.wav", video=frames, text=["a dog barks"])   # doctest: +SKIP
    >>> sorted(found)                                                               # doctest: +SKIP
    ['audio', 'audio_plus_text', 'audio_video', 'text_audio', 'text_audio_video', 'text_video', 'video', 'video_plus_text']
    >>> model.probabilities("audio_video_text", found["audio_video"], found["text_audio_video"])    # doctest: +SKIP
    tensor([[0.9712]])

    `model`: a directory, or "org/name" on the Hugging Face Hub at `revision`, of the model_type "pe_audio_video", or
    "pe_audio" or "pe_video", which have the part of it that their names say. `max_seconds`: the longest clip; one second
    takes about 50 MB. `device` as at `Embedder`, which takes the same directories, for vectors of unit length in one space.
    """

    def __init__(
        self,
        model: _inputs.PathLike,
        *,
        max_seconds: float = 30.0,
        device: str | torch.device = "cpu",
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        self.directory: Path = _hub.locate(_inputs.path(model), revision=revision, local_files_only=local_files_only)
        self._model = _trine.PeAudioVideo.load(self.directory, max_seconds, str(device))

    def embed(
        self, *, audio: _inputs.AudioLike | None = None, video: Any = None, text: str | list[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Every vector that follows from what is given, by the reference's names without "_embeds", not normalised.

        "audio", "video" and "audio_video", of both together, are (D); with M texts "text_audio", "text_video" and
        "text_audio_video", to compare with the three, are (M, D), and so are "audio_plus_text", of the clip and each text,
        to compare with a video, and "video_plus_text", to compare with a clip. One text as a str is M = 1.

        `video`: its frames in their order, an array (T, H, W, 3), a tensor (T, 3, H, W) or a list of pictures. ValueError
        for what the model lacks, and for nothing at all.

        >>> model.embed(audio=(samples, 48_000), text="rain").keys()                # doctest: +SKIP
        dict_keys(['audio', 'text_audio', 'text_video', 'text_audio_video', 'audio_plus_text'])
        """
        clip = None if audio is None else _inputs.audio(audio, 0)
        if isinstance(clip, str):
            clip = _trine.read_audio(clip, 0)
        frames = None if video is None else [_inputs.pixels(frame) for frame in _inputs.frames(video)]
        texts = None if text is None else [_inputs.text(t) for t in ([text] if isinstance(text, str) else text)]
        return self._model.embed(clip, frames, texts)

    def logits(self, pair: str, a: Any, b: Any) -> torch.Tensor:
        """Scale times product plus bias, as `pairs` were trained. (N, D) and (M, D), or (D) -> (N, M)

        The pairs are audio_text (audio, text_audio), video_text (video, text_video), audio_video (audio, video),
        audio_video_text (audio_video, text_audio_video), audio_plus_text_video (audio_plus_text, video) and
        video_plus_text_audio (video_plus_text, audio).

        >>> model.logits("audio_text", found["audio"], found["text_audio"]).shape   # doctest: +SKIP
        torch.Size([1, 1])
        """
        rows = (torch.from_numpy(np.array(_inputs.vector(vectors))) for vectors in (a, b))
        return self._model.logits(pair, *rows)

    def probabilities(self, pair: str, a: Any, b: Any) -> torch.Tensor:
        """How sure the model is that two belong together: the sigmoid of `logits`."""
        return self.logits(pair, a, b).sigmoid()

    @property
    def pairs(self) -> list[str]:
        """What `logits` can compare."""
        return self._model.pairs

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._model.dim

    def describe(self) -> Description:
        """What happens to inputs, part by part, and the scale and bias of every pair; print it to read it."""
        return Description(self._model.describe())

    def __repr__(self) -> str:
        return f"PeAudioVideo({str(self.directory)!r}, pairs={self.pairs}, dim={self.dim})"
