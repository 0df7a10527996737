"""The section label of params.yaml: the label method, its decisions and its language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from wildseg.core.limits import Between, Length, Options, Seconds, Seed, Share, Side

Tiles = Annotated[int, Between(1, 64)]  # along one side of a frame


@dataclass(frozen=True)
class Votes:
    """How many answers of a language model are asked for, and how they differ; see `labels.language.voting`.

    number: of replies per frame. From the second on the classes are shuffled (shuffle) and every other image is
    mirrored (flip). ties: what a class is that half of the votes name.
    """

    number: Annotated[int, Between(1, 1000)]
    shuffle: bool
    flip: bool
    ties: Literal["present", "absent"]


@dataclass(frozen=True)
class Language:
    """The language model that some label methods ask, and how; see `wildseg.labels.language`.

    model: a name that the server knows, or a folder or name of weights that transformers reads where server is null.
    text_model and text_server: for what needs no eyes; null means the same. max_side: images are shrunk to this many
    pixels along the longer side; null sends them at full size. reminder: the message after a reply that cannot be
    parsed.
    """

    model: str | None
    server: str | None
    text_model: str | None
    text_server: str | None
    definitions: dict[str, str]
    constrained: bool
    temperature: Annotated[float, Between(0, 2)]
    seed: Seed
    max_tokens: Annotated[int, Between(1, 10**6)]
    max_side: Side | None
    votes: Votes
    reminder: str


@dataclass(frozen=True)
class Label:
    """From key frames to the classes that are in them; grid: rows and columns of the tiles that are labelled."""

    method: str
    grid: Annotated[tuple[Tiles, ...], Length(2, 2)]
    rule: Literal["auto", "fixed", "relative"]
    threshold: Share | dict[str, Share] | Literal["auto"]
    fallback: Literal["none", "argmax"]
    smooth_s: Seconds | None
    max_failures: Share
    language: Language
    options: Options
