"""What a person gets, by the name of the headers' folder: `trine.apps.ProductSearch` is `trine.ProductSearch`.

>>> trine.apps.VideoUnderstanding is trine.VideoUnderstanding
True
"""

from .damage import DamageDetector
from .emotion import EmotionRecognizer, SoundRecognizer
from .hearing import Hearing
from .intent import IntentClassifier
from .product_search import ProductSearch, SearchResult
from .support_agent import SupportAgent
from .video_search import VideoSearch
from .video_understanding import VideoUnderstanding

__all__ = [
    "DamageDetector",
    "EmotionRecognizer",
    "Hearing",
    "IntentClassifier",
    "ProductSearch",
    "SearchResult",
    "SoundRecognizer",
    "SupportAgent",
    "VideoSearch",
    "VideoUnderstanding",
]
