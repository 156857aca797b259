"""Images, text and audio in one vector space: embed them, combine them, search them and say why.

>>> import trine
>>> model = trine.Embedder()                                            # doctest: +SKIP
>>> query = model.embed(image="photo.jpg", text="the red one")          # doctest: +SKIP
>>> search = trine.ProductSearch(embedder=model)                        # doctest: +SKIP
>>> for hit in search.search(text="a ripe banana", audio="question.wav"):   # doctest: +SKIP
...     print(hit.title, hit.sentence())

The way of the data is the way through the package: input, encoders, embedder, fusion, search, apps; beside it stands
train. `trine.fusion` and `trine.train` are modules of their own, `trine.apps` has the last step by itself.
"""

try:
    import torch
except ImportError as error:
    raise ImportError("trine needs torch 2.13.*: python3 -m pip install 'torch==2.13.*'") from error
if torch.__version__.split(".")[:2] != ["2", "13"]:
    raise ImportError(
        f"trine is built for torch 2.13.*, this is torch {torch.__version__}: python3 -m pip install 'torch==2.13.*'"
    )

from . import apps, fusion, train
from ._trine import (
    AdaptiveAnswer,
    AudioEncoder,
    ChatEndpoint,
    Contradiction,
    Conversation,
    Damage,
    Encoders,
    Encoding,
    Filter,
    Finding,
    Heard,
    Hit,
    ImageEncoder,
    Intent,
    Moment,
    Product,
    Reason,
    Reply,
    Score,
    Segment,
    Similarity,
    Subtitle,
    TextEncoder,
    Tokenizer,
    Transcript,
    Video,
    VideoFrame,
    WatchedVideo,
    __version__,
    load_clap,
    read_catalogue,
)
from .adaptive import AdaptiveInference
from .classifier import Classifier
from .damage import DamageDetector
from .embedder import Coverage, Description, Embedder, RecordGradients
from .emotion import EmotionRecognizer, SoundRecognizer
from .encoder import Encoder, load_encoder
from .hearing import Hearing
from .input import read_audio, read_image, read_subtitles, read_video, resize, whisper_mel
from .intent import IntentClassifier
from .pe_audio_video import PeAudioVideo
from .product_search import ProductSearch, SearchResult, describe_index
from .search import Index, Match, RerankScore, combine_query, rerank_score
from .support_agent import SupportAgent
from .transcriber import Transcriber
from .video_search import VideoSearch
from .video_understanding import VideoUnderstanding

__all__ = [
    # input
    "Encoding",
    "Subtitle",
    "Tokenizer",
    "Video",
    "VideoFrame",
    "read_audio",
    "read_image",
    "read_subtitles",
    "read_video",
    "resize",
    "whisper_mel",
    # encoders
    "AudioEncoder",
    "Classifier",
    "Encoder",
    "Encoders",
    "ImageEncoder",
    "PeAudioVideo",
    "Similarity",
    "Segment",
    "TextEncoder",
    "Transcriber",
    "Transcript",
    "load_clap",
    "load_encoder",
    # embedder
    "Coverage",
    "Description",
    "Embedder",
    "RecordGradients",
    # fusion
    "fusion",
    # search
    "Filter",
    "Index",
    "Match",
    "RerankScore",
    "combine_query",
    "describe_index",
    "rerank_score",
    # apps
    "AdaptiveAnswer",
    "AdaptiveInference",
    "ChatEndpoint",
    "Contradiction",
    "Conversation",
    "Damage",
    "DamageDetector",
    "EmotionRecognizer",
    "Finding",
    "Heard",
    "Hearing",
    "Hit",
    "Intent",
    "IntentClassifier",
    "Moment",
    "Product",
    "ProductSearch",
    "Reason",
    "Reply",
    "Score",
    "SearchResult",
    "SoundRecognizer",
    "SupportAgent",
    "VideoSearch",
    "VideoUnderstanding",
    "WatchedVideo",
    "read_catalogue",
    # beside
    "train",
    "__version__",
]

# What comes from the extension shows itself under the name it is used by.
for _name in __all__:
    if getattr(globals()[_name], "__module__", None) == f"{__name__}._trine":
        globals()[_name].__module__ = __name__
del _name
