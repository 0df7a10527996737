"""What is said to a language model and what it says: the words of all back ends and methods."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np

GREY_SIZE = (224, 224)  # pixels; small for every model, and too small for none
Message = tuple[str, str]  # ("user" or "assistant", what was said)


class ImageInput:
    """The picture that goes with a question, known by its pixels."""

    def __init__(self, pixels: np.ndarray, *, mirrored: bool = False) -> None:
        """Remember (H, W, 3) uint8 RGB, and whether that is the mirror image of what was taken."""
        self.pixels = np.ascontiguousarray(pixels)
        self.mirrored = mirrored

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of its size and pixels, hex."""
        return hashlib.sha256(f"{self.pixels.shape}".encode() + self.pixels.tobytes()).hexdigest()

    @classmethod
    def grey(cls) -> ImageInput:
        """Return one that shows nothing: what is said to it is about the question, or the model."""
        return cls(np.full((*GREY_SIZE, 3), 128, np.uint8))

    def flipped(self) -> ImageInput:
        """Return it with left and right exchanged."""
        return ImageInput(self.pixels[:, ::-1], mirrored=not self.mirrored)


@dataclass(frozen=True)
class ChatQuery:
    """One question: what was said so far, the last by the user; the picture belongs to the first message.

    names: the answer is to be JSON that names some of these, None lets the model speak freely. yes_no: nothing is said,
    it is asked how likely yes and no are.
    """

    messages: tuple[Message, ...]
    image: ImageInput | None
    temperature: float
    seed: int
    max_tokens: int
    names: tuple[str, ...] | None = None
    yes_no: bool = False

    def key_parts(self) -> list[Any]:
        """Return all that an answer depends on beside the model, for a key: texts, digests and numbers."""
        image = self.image.digest if self.image else None
        numbers = [self.temperature, self.seed, self.max_tokens, self.yes_no]
        return [list(self.messages), image, *numbers, list(self.names) if self.names is not None else None]


@dataclass(frozen=True)
class ChatReply:
    """One answer: its text, whether it was cut at the token limit, and what it cost.

    yes: the probability of yes against no in [0, 1], for a question that asked for it; None if the model thought of
    neither. seconds: as long as it took, shared among those of one batch. cost: in the server's currency, if it says.
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
        """Build it again from what `record` returned; None from anything else, such as a record of another version."""
        kinds = {"text": str, "cut": bool, "tokens_in": int, "tokens_out": int, "seconds": float}
        if not isinstance(record, dict) or set(record) != {one.name for one in fields(cls)}:
            return None
        likely = all(record[name] is None or isinstance(record[name], (int, float)) for name in ("cost", "yes"))
        fits = all(isinstance(record[name], kind) for name, kind in kinds.items())
        return cls(**record) if likely and fits else None

    def record(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class QueryRefused:
    """In place of a reply: why this question has none, while others have. It is not kept: another day it may have."""

    reason: str


class ChatModel(Protocol):
    """A language model: weights on this machine, or a server."""

    @property
    def identity(self) -> Sequence[Any]:
        """What tells this model from others, for a key."""

    @property
    def window(self) -> int:
        """How many frames are worth talking about at the same time."""

    def complete(self, queries: Sequence[ChatQuery]) -> Iterator[tuple[int, ChatReply | QueryRefused]]:
        """Yield the place of a question in `queries` and its answer, each as soon as it is there.

        A refusal is about that question alone; one that others would meet, too, is an error.

        Raises:
            ModelError: it cannot be had. What was answered until then has been yielded.
        """


class RecordCache(Protocol):
    """Keeps answers from run to run."""

    def get(self, parts: Sequence[Any]) -> Any:  # noqa: ANN401
        """Return the record that was kept, or None."""

    def put(self, parts: Sequence[Any], record: Mapping[str, Any]) -> None:
        """Keep a record."""


@dataclass(frozen=True)
class SamplingParams:
    """How a model is asked: what params.yaml says of that, whatever the method.

    max_side: pictures are shrunk to this many pixels along the longer side; None sends them as they are. reminder: what
    follows an answer that cannot be read. votes: how many answers are asked for; from the second on the classes are
    shuffled (shuffle) and every other picture is mirrored (flip). ties: whether half the votes are enough.
    """

    temperature: float
    seed: int
    max_tokens: int
    max_side: int | None
    reminder: str
    votes: int = 1
    shuffle: bool = True
    flip: bool = True
    ties: bool = True


@dataclass(frozen=True)
class LanguageModels:
    """All that a method needs to ask: who sees, who only reads, how, and what was answered before.

    vision: is asked whatever comes with a picture. text: everything else; the same where no other was named.
    """

    vision: ChatModel
    text: ChatModel
    cache: RecordCache
    sampling: SamplingParams
