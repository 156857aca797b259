"""Speech to text with a Whisper checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from . import _hub, _inputs, _trine
from .embedder import Description, _Bar, _default_directory, _named


class Transcriber:
    """Speech to text with the checkpoint of a Whisper, tiny to large-v3, English or multilingual.

    >>> transcriber = trine.Transcriber()                                   # doctest: +SKIP
    >>> heard = transcriber.transcribe("question.wav")                      # doctest: +SKIP
    >>> heard.text, round(heard.confidence, 2)                              # doctest: +SKIP
    ('Do you have oat milk?', 0.91)

    `model`: nothing for that of the default model (fetched when it is not there yet); a directory, which is a Whisper
    checkpoint or a model of ours that names one for its audio; or "org/name" on the Hugging Face Hub, at `revision`.
    `device` as at `Embedder`.

    Decoding is greedy; tokens equal those of transformers' `generate` with the same generation_config.json. What differs
    on purpose: windows end with the clip and not with its padding; a run of tokens that comes again and again is cut to
    its first round (`repeated`); a window that the decoder takes for silence and is unsure of is left out; a clip
    without any sound gives an empty transcript. Calls from several Python threads run at the same time.
    """

    def __init__(
        self,
        model: _inputs.PathLike | None = None,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        if model is None:
            directory = _default_directory()
        else:
            directory = _hub.locate(_inputs.path(model), revision=revision, local_files_only=local_files_only)
        self._model = _trine.Transcriber.load(directory, str(device))

    def transcribe(
        self,
        audio: _inputs.AudioLike | list[_inputs.AudioLike],
        *,
        timestamps: bool = False,
        language: str | None = None,
        task: str = "transcribe",
        whole_window: bool = True,
        max_tokens: int | None = None,
        show_progress_bar: bool = False,
    ) -> Any:
        """A clip -> Transcript, a list of them -> a list of these. Clips are what `Embedder.embed_audio` takes.

        - timestamps: segments with their times, in steps of 0.02 s; clips over 30 s have them anyhow;
        - language: a code like "de", for multilingual checkpoints; None: detected in the first window;
        - task: "transcribe", or "translate" into English, for multilingual checkpoints;
        - whole_window: each clip padded to 30 s, as the model was trained; False: its own length and half a second of
          silence, faster for short clips, less accurate: the decoder loops more often;
        - max_tokens: of one window; None: as many as the checkpoint allows.

        ValueError for a language or task that the checkpoint does not know and for samples that are not finite,
        RuntimeError for a clip that cannot be read or is shorter than 0.1 s.

        >>> for part in transcriber.transcribe("talk.mp3", timestamps=True).segments:     # doctest: +SKIP
        ...     print(part.start, part.end, part.text)
        """
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, or None for no limit, not {max_tokens}.")
        items, single = _inputs.split(audio)
        bar = _Bar(len(items), show_progress_bar, "transcribed")
        found = []
        for i, item in enumerate(items):
            clip = _named(i, len(items), _inputs.audio, item)
            found.append(
                self._model.transcribe(clip, timestamps, language or "", task, whole_window, max_tokens or 0)
            )
            bar.advance(1)
        return found[0] if single else found

    @property
    def multilingual(self) -> bool:
        """Whether it knows several languages, and can translate them into English."""
        return self._model.multilingual

    @property
    def languages(self) -> list[str]:
        """Codes that `language` may be; none of an English checkpoint."""
        return self._model.languages

    @property
    def window_seconds(self) -> float:
        """Length of a window, 30 of all published checkpoints."""
        return self._model.window_seconds

    @property
    def directory(self) -> Path:
        """Where the checkpoint was loaded from."""
        return self._model.directory

    def describe(self) -> Description:
        """What happens to a clip on its way to text; print it to read it."""
        return Description(self._model.describe())

    def __repr__(self) -> str:
        languages = f"{len(self.languages)} languages" if self.multilingual else "one language"
        return f"Transcriber({str(self.directory)!r}, {languages})"
