"""Finds moments of videos by what is seen, heard and written in them."""

from __future__ import annotations

from . import _inputs, _trine
from .embedder import Embedder
from .transcriber import Transcriber
from .video_understanding import VideoUnderstanding


class VideoSearch:
    """Finds moments of videos by what is seen, heard and written in them.

    >>> search = trine.VideoSearch()                                            # doctest: +SKIP
    >>> video = search.watch("clip.mp4")                                        # doctest: +SKIP
    >>> for moment in search.find(video, "a ripe banana"):                      # doctest: +SKIP
    ...     print(moment.start, moment.end, round(moment.score, 2), moment.reasons())

    `embedder`: a model with images, by default the default model. `temporal`: a `VideoUnderstanding` over that model's
    vectors, by default the one in the folder "video" of the model's directory, if there is one; None: none. Without a
    temporal model the video's vector is the mean of its frames, of its sounds and of its subtitles.
    """

    def __init__(
        self, embedder: Embedder | None = None, *, temporal: VideoUnderstanding | str | None = "default"
    ) -> None:
        self._embedder = Embedder() if embedder is None else embedder
        if not isinstance(self._embedder, Embedder):
            raise TypeError(f"embedder must be a trine.Embedder, not {type(embedder).__name__}.")
        if temporal == "default":
            self._search = _trine.VideoSearch(self._embedder._model)
        elif temporal is None or isinstance(temporal, VideoUnderstanding):
            self._search = _trine.VideoSearch(self._embedder._model, temporal and temporal._checked())
        else:
            raise TypeError(f"temporal must be a trine.VideoUnderstanding or None, not {type(temporal).__name__}.")

    def watch(
        self,
        video: _inputs.PathLike,
        *,
        frames_per_second: float = 1,
        frames: int = 0,
        subtitles: _inputs.PathLike | None = None,
        transcriber: Transcriber | None = None,
        thumbnail_width: int = 0,
        batch_size: int = 32,
    ) -> _trine.WatchedVideo:
        """A video file as vectors, a `WatchedVideo`.

        `frames_per_second` frames are looked at, or `frames` spread evenly. `subtitles`: a file of SubRip or WebVTT; by
        default those inside the video, else a file of the same name beside it, else what the `transcriber` hears.
        What is missing or damaged is in `notes`; RuntimeError where nothing can be seen.

        >>> search.watch("clip.mp4", frames_per_second=2)                       # doctest: +SKIP
        WatchedVideo('clip.mp4', 12.0 s, 24 frames, 3 subtitles)
        """
        if not (transcriber is None or isinstance(transcriber, Transcriber)):
            raise TypeError(f"transcriber must be a trine.Transcriber, not {type(transcriber).__name__}.")
        return self._search.watch(
            _inputs.path(video),
            frames_per_second,
            frames,
            None if subtitles is None else _inputs.path(subtitles),
            transcriber and transcriber._model,
            thumbnail_width,
            batch_size,
        )

    def find(self, video: _trine.WatchedVideo, text: str, *, k: int = 5, min_score: float = 0.1) -> list[_trine.Moment]:
        """The `k` moments that fit a text best, best first, each a `Moment` with its time range, score and reasons.

        Neighbouring times belong to one moment while they score at least half its best.

        >>> search.find(video, "somebody holds an apple", k=1)                  # doctest: +SKIP
        [Moment(3.00, 6.00, score=0.871)]
        """
        return self._search.find(_watched(video), _inputs.text(text), k, min_score)

    def scores(self, video: _trine.WatchedVideo, text: str):
        """How much more than everyday things a text fits at each time -> (T) in [0, 1].

        >>> search.scores(video, "a ripe banana").shape                         # doctest: +SKIP
        torch.Size([12])
        """
        return self._search.scores(_watched(video), _inputs.text(text))

    @property
    def embedder(self) -> Embedder:
        """The model."""
        return self._embedder

    @property
    def has_temporal(self) -> bool:
        """Whether a temporal model is there."""
        return self._search.has_temporal

    def __repr__(self) -> str:
        return f"VideoSearch({self._embedder!r}, temporal={self.has_temporal})"


def _watched(video: _trine.WatchedVideo) -> _trine.WatchedVideo:
    if not isinstance(video, _trine.WatchedVideo):
        raise TypeError(f"A video must be what watch() gave, not {type(video).__name__}.")
    return video
