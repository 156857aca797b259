"""A video's frames, the sound around them and a transcript to one vector, with the importance of each frame."""

from __future__ import annotations

from torch import Tensor

from . import _trine
from ._module import Module


class VideoUnderstanding(Module):
    """A video's frames, the sound around them and a transcript to one vector, with the importance of each frame.

    Frames and the sound around each of them go through a bidirectional LSTM of `hidden_dim` units a direction and
    `num_layers` layers; a transcript is added by attention to it; the vector is the mean of the frames, weighed by their
    importance. A module that any PyTorch optimiser trains; new ones hold random weights.

    >>> network = trine.VideoUnderstanding(frame_dim=384, audio_dim=384, text_dim=384, hidden_dim=64, out_dim=384)
    >>> video, importance = network(torch.randn(2, 10, 384))
    >>> video.shape, importance.shape
    (torch.Size([2, 384]), torch.Size([2, 10]))
    """

    _kind = _trine.VideoUnderstanding

    def __init__(
        self,
        frame_dim: int,
        audio_dim: int,
        text_dim: int,
        hidden_dim: int,
        out_dim: int,
        num_layers: int = 1,
        num_heads: int = 8,
    ) -> None:
        super().__init__(
            _trine.VideoUnderstanding(frame_dim, audio_dim, text_dim, hidden_dim, out_dim, num_layers, num_heads)
        )

    def forward(
        self,
        frames: Tensor,
        audio: Tensor | None = None,
        mask: Tensor | None = None,
        transcript: Tensor | None = None,
        transcript_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """-> video (B, out_dim) of unit length, importance (B, T) summing to 1 over the real frames.

        frames (B, T, frame_dim); audio (B, T, audio_dim), zeros by default; mask (B, T) bool, True = a real frame, those
        come first; transcript (B, S, text_dim) and transcript_mask (B, S) bool, of which a row may be all False. What
        padded steps hold does not matter. ValueError for shapes that do not fit, and for a video without a frame, named
        by its index.
        """
        return self._checked().forward(frames, audio, mask, transcript, transcript_mask)
