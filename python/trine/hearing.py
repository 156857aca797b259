"""Speech by two paths: the speech tower, and a transcript through the text tower."""

from __future__ import annotations

from . import _inputs, _trine
from .embedder import Description, Embedder


class Hearing:
    """Speech by two paths, mixed by how far the transcript can be trusted.

    The speech tower knows the phrases of its training and stands noise; a transcript through the text tower knows any
    sentence. How much the transcript counts was fitted on validation clips: `describe()` shows it.

    >>> hearing = trine.Hearing()                                           # doctest: +SKIP
    >>> heard = hearing.hear("question.wav")                                # doctest: +SKIP
    >>> heard.transcript.text, round(heard.trust, 2)                        # doctest: +SKIP
    ('Do you have oat milk?', 0.84)
    >>> heard.vector.shape                                                  # doctest: +SKIP
    torch.Size([384])

    `embedder`: a model with towers of audio and of text and with fitted weights, by default the default model; its own
    speech encoder must come with a decoder. ValueError where it has not.
    """

    def __init__(self, embedder: Embedder | None = None) -> None:
        if embedder is not None and not isinstance(embedder, Embedder):
            raise TypeError(f"embedder must be a trine.Embedder, not {type(embedder).__name__}.")
        self._embedder = Embedder() if embedder is None else embedder
        self._hearing = _trine.Hearing.load(self._embedder._model)

    @staticmethod
    def available(embedder: Embedder) -> bool:
        """Whether a model has what hearing by two paths needs."""
        return _trine.Hearing.available(embedder._model)

    def hear(self, audio: _inputs.AudioLike) -> _trine.Heard:
        """A clip -> Heard: `transcript`, the vectors `direct` and `written`, `trust`, and both combined as `vector`.

        Clips are what `Embedder.embed_audio` takes. ValueError for samples that are not finite, RuntimeError for a clip
        that cannot be read, is silent or shorter than 0.1 s.
        """
        return self._hearing.hear(_inputs.audio(audio, 0))

    @property
    def embedder(self) -> Embedder:
        """The model."""
        return self._embedder

    def describe(self) -> Description:
        """How a clip is heard; print it to read it."""
        return Description(self._hearing.describe())

    def __repr__(self) -> str:
        return f"Hearing(embedder={self._embedder!r})"
