"""Queries to language models and their replies: the types that back ends and methods share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from wildseg.labels.params import Language

GREY_SIZE = (224, 224)  # pixels; small for every model, and too small for none
Message = tuple[str, str]  # (role: "user" or "assistant", text)


class ImageInput:
    """The image of a query, identified by its pixels."""

    def __init__(self, pixels: np.ndarray, *, mirrored: bool = False) -> None:
        """Hold (H, W, 3) uint8 RGB; `mirrored`: left and right are exchanged."""
        self.pixels = np.ascontiguousarray(pixels)
        self.mirrored = mirrored

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of its size and pixels, hex."""
        return hashlib.sha256(f"{self.pixels.shape}".encode() + self.pixels.tobytes()).hexdigest()

    @classmethod
    def grey(cls) -> ImageInput:
        """Return a uniform grey image, for control queries."""
        return cls(np.full((*GREY_SIZE, 3), 128, np.uint8))

    def flipped(self) -> ImageInput:
        """Return the image with left and right exchanged."""
        return ImageInput(self.pixels[:, ::-1], mirrored=not self.mirrored)


@dataclass(frozen=True)
class ChatQuery:
    """One query: the messages so far, the last one by the user; the image belongs to the first message.

    names: constrains the reply to JSON with some of these names; None for free text. yes_no: no text is generated, only
    the probability of yes against no.
    """

    messages: tuple[Message, ...]
    image: ImageInput | None
    temperature: float
    seed: int
    max_tokens: int
    names: tuple[str, ...] | None = None
    yes_no: bool = False

    def key_parts(self) -> list[Any]:
        """Return the cache key of the reply, without the model: texts, digests and numbers."""
        image = self.image.digest if self.image else None
        numbers = [self.temperature, self.seed, self.max_tokens, self.yes_no]
        return [list(self.messages), image, *numbers, list(self.names) if self.names is not None else None]


@dataclass(frozen=True)
class ChatReply:
    """One reply: its text, whether it was cut at the token limit, and its cost.

    yes: the probability of yes against no in [0, 1], for a `yes_no` query; None if neither was among the likely tokens.
    seconds: the latency, divided among the replies of a batch. cost: in the server's currency, if reported.
    """

    text: str
    cut: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cost: float | None = None
    yes: float | None = None

    @classmethod
    def from_record(cls, record: Any) -> ChatReply | None:  # noqa: ANN401
        """Rebuild a reply from `record`; None for anything else, such as a record of another version."""
        kinds = {"text": str, "cut": bool, "tokens_in": int, "tokens_out": int, "seconds": float}
        if not isinstance(record, dict) or set(record) != {one.name for one in fields(cls)}:
            return None
        likely = all(record[name] is None or isinstance(record[name], (int, float)) for name in ("cost", "yes"))
        fits = all(isinstance(record[name], kind) for name, kind in kinds.items())
        return cls(**record) if likely and fits else None

    def record(self) -> dict[str, Any]:
        """Return a JSON-serialisable record."""
        return asdict(self)


@dataclass(frozen=True)
class QueryRefused:
    """In place of a reply: why this query alone was refused. It is not cached, since a later run may succeed."""

    reason: str


class ChatModel(Protocol):
    """A language model: weights on this machine, or a server."""

    @property
    def identity(self) -> Sequence[Any]:
        """What identifies this model in a cache key."""

    @property
    def window(self) -> int:
        """How many frames to process concurrently."""

    def complete(self, queries: Sequence[ChatQuery]) -> Iterator[tuple[int, ChatReply | QueryRefused]]:
        """Yield (index of a query, its reply), each as soon as it is complete.

        A refusal concerns that query alone; one that concerns all queries is an error.

        Raises:
            ModelError: the model cannot be used. Replies until then have been yielded.
        """


class RecordCache(Protocol):
    """A persistent cache of records."""

    def get(self, parts: Sequence[Any]) -> Any:  # noqa: ANN401
        """Return the cached record, or None."""

    def put(self, parts: Sequence[Any], record: Mapping[str, Any]) -> None:
        """Cache a record."""


@dataclass(frozen=True)
class LanguageModels:
    """The language models of a method, their parameters, and the cache of replies.

    vision: gets queries with an image. text: gets all others; the same model unless another is configured.
    """

    vision: ChatModel
    text: ChatModel
    cache: RecordCache
    params: Language
