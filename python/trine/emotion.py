"""What a text or a voice sounds like, and what makes the noise in a clip."""

from __future__ import annotations

from . import _inputs, _trine
from .embedder import Description, Embedder


def _model_of(embedder: Embedder | None) -> Embedder:
    if embedder is not None and not isinstance(embedder, Embedder):
        raise TypeError(f"embedder must be a trine.Embedder, not {type(embedder).__name__}.")
    return Embedder() if embedder is None else embedder


class EmotionRecognizer:
    """What a text or a voice sounds like: angry, glad, sad ...

    >>> emotion = trine.EmotionRecognizer()                                 # doctest: +SKIP
    >>> emotion.text("It arrived broken again!")[0]                         # doctest: +SKIP
    Score('anger', 0.612)

    Texts: English, trained on online comments (GoEmotions); several labels may hold at once, so the probabilities do not
    sum to 1. Voices: trained on German acted speech (EmoDB), one of four; they sum to 1. It carries badly to other
    languages and to people who do not act: take it for a hint.

    `embedder`: the model whose heads are wanted, by default the default model; RuntimeError where it has none.
    """

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._emotion = _trine.EmotionRecognizer.load(_model_of(embedder)._model)

    def text(self, text: str) -> list[_trine.Score]:
        """Anger, disgust, fear, joy, sadness, surprise and neutral, likeliest first. ValueError for a blank text."""
        return self._emotion.text(_inputs.text(text))

    def text_labels(self, text: str) -> list[_trine.Score]:
        """The 27 labels of GoEmotions and neutral, likeliest first.

        >>> emotion.text_labels("Thank you so much!")[0].label              # doctest: +SKIP
        'gratitude'
        """
        return self._emotion.text_labels(_inputs.text(text))

    def voice(self, audio: _inputs.AudioLike) -> list[_trine.Score]:
        """Angry, happy, neutral and sad, likeliest first. Clips are what `Embedder.embed_audio` takes.

        >>> [score.label for score in emotion.voice("complaint.wav")]       # doctest: +SKIP
        ['angry', 'happy', 'neutral', 'sad']
        """
        return self._emotion.voice(_inputs.audio(audio, 0))

    def supports(self, modality: str) -> bool:
        """Whether the model has a head for "text", or for "audio"."""
        return self._emotion.supports(modality)

    def describe(self) -> Description:
        """What the heads were trained on, and what happens to an input; print it to read it."""
        return Description(self._emotion.describe())


class SoundRecognizer:
    """What makes the noise in a clip: one of the ten classes of ESC-10 (dog bark, rain, baby cry ...).

    It knows these ten alone: any clip lands on one of them.

    >>> trine.SoundRecognizer().recognize("outside.wav")[0]                 # doctest: +SKIP
    Score('rain', 0.913)

    `embedder`: the model whose head is wanted, by default the default model; RuntimeError where it has none.
    """

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._sounds = _trine.SoundRecognizer.load(_model_of(embedder)._model)

    def recognize(self, audio: _inputs.AudioLike) -> list[_trine.Score]:
        """The ten classes, likeliest first; their probabilities sum to 1. Clips are what `Embedder.embed_audio` takes."""
        return self._sounds.recognize(_inputs.audio(audio, 0))

    def describe(self) -> Description:
        """What the head was trained on, and what happens to a clip; print it to read it."""
        return Description(self._sounds.describe())
