"""Answers a customer's message: words, a photo, a recording, in any combination."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _inputs, _trine
from .damage import DamageDetector
from .embedder import Description, Embedder
from .intent import IntentClassifier
from .product_search import ProductSearch


class SupportAgent:
    """Answers a customer's message: words, a photo, a recording, in any combination.

    It finds the intent, the emotion (of the voice, else of the words), how urgent it is, damage in the photo, the product
    and the order's number; says where they do not fit together; asks for what is missing; says only what was found.

    >>> agent = trine.SupportAgent()                                                          # doctest: +SKIP
    >>> reply = agent.handle(text="My bananas arrived squashed.", image="photo.jpg")          # doctest: +SKIP
    >>> print(reply.text)                                                                     # doctest: +SKIP
    >>> reply.find("intent"), reply.contradictions, reply.missing                             # doctest: +SKIP

    With a `Conversation` a later photo completes an earlier complaint:

    >>> conversation = trine.Conversation()
    >>> agent.handle(text="My order 10293 arrived broken.", conversation=conversation)        # doctest: +SKIP
    >>> agent.handle(image="photo.jpg", conversation=conversation).missing                    # doctest: +SKIP
    []

    `embedder`: the model, by default the default model; what it has no part for is in `Reply.not_looked_at`.
    `language`: of the replies, "en" or "de" or one of `replies`; messages are understood in English.
    `replies`: a file of templates, by default the model's replies.json.
    `intents`: an IntentClassifier or a file of examples, by default the model's intents.json.
    `damage`: a DamageDetector, such as one fitted on your own photos, by default the model's.
    `products`: a ProductSearch or the file of an index, by default the model's catalogue.
    `chat`: a `ChatEndpoint` that writes the replies. It gets the words and what was found, never a picture or recording;
    the templates write where it fails, or names a number, link, product or damage that was neither found nor said.
    """

    def __init__(
        self,
        embedder: Embedder | None = None,
        *,
        language: str = "en",
        replies: _inputs.PathLike | None = None,
        intents: IntentClassifier | _inputs.PathLike | None = None,
        damage: DamageDetector | None = None,
        products: ProductSearch | _inputs.PathLike | None = None,
        chat: _trine.ChatEndpoint | None = None,
    ) -> None:
        if embedder is not None and not isinstance(embedder, Embedder):
            raise TypeError(f"embedder must be a trine.Embedder, not {type(embedder).__name__}.")
        self._embedder = Embedder() if embedder is None else embedder
        if damage is not None and not isinstance(damage, DamageDetector):
            raise TypeError(f"damage must be a trine.DamageDetector, not {type(damage).__name__}.")
        classifier = intents._model if isinstance(intents, IntentClassifier) else None
        search = products._search if isinstance(products, ProductSearch) else None
        files = (replies, None if classifier is not None else intents, None if search is not None else products)
        self._agent = _trine.SupportAgent(
            self._embedder._model,
            language,
            *("" if path is None else _inputs.path(path) for path in files),
            classifier,
            None if damage is None else damage._model,
            search,
            chat,
        )

    def handle(
        self,
        *,
        text: str | None = None,
        image: _inputs.ImageLike | None = None,
        audio: _inputs.AudioLike | None = None,
        conversation: _trine.Conversation | None = None,
    ) -> _trine.Reply:
        """Answers one message; with a `conversation` as its next turn.

        Inputs are those of `Embedder`. What cannot be read is in `Reply.unread`, the reply says so, and the rest of the
        message is used. ValueError for a message with nothing in it.
        """
        unread: list[tuple[str, str]] = []

        def made(name: str, make: Callable[[Any], Any], value: Any) -> Any:
            try:
                return None if value is None else make(value)
            except (ValueError, RuntimeError) as error:
                unread.append((name, str(error)))
                return None

        inputs = made("image", _inputs.image, image), made("text", _inputs.text, text), made("audio", _inputs.audio, audio)
        return self._agent.handle(*inputs, unread, _trine.Conversation() if conversation is None else conversation)

    @property
    def embedder(self) -> Embedder:
        """The model."""
        return self._embedder

    @property
    def languages(self) -> list[str]:
        """Those the templates have."""
        return self._agent.languages

    def describe(self) -> Description:
        """What each part is, and why one is missing; print it to read it."""
        return Description(self._agent.describe())

    def __repr__(self) -> str:
        return f"SupportAgent({self._embedder!r})"
