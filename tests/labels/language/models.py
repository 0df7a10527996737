"""Models whose answers are known, and what is asked of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.encoders.models import noise
from wildseg.execution import defaults
from wildseg.labels.interface import LabelRequest, NamedImage
from wildseg.labels.language.messages import ChatQuery, ChatReply, LanguageModels, QueryRefused
from wildseg.labels.params import Label, Language

ROOT = Path(__file__).parents[3]
OPTIONS = yaml.safe_load((ROOT / "params.yaml").read_text())["label"]["options"]
NAMES = ("sky", "road", "lawn")
PHRASES = (("sky", "clouds"), ("road", "grey pavement"), ("lawn",))
MANNER = {"temperature": 0.6, "seed": 0, "max_tokens": 40, "max_side": 64, "reminder": "only JSON"}


class Script:
    """A model that answers as a function of the question does, and remembers what it was asked."""

    window = 2

    def __init__(self, says: Callable[[ChatQuery], str | ChatReply | QueryRefused], name: str = "script") -> None:
        self.says, self.identity, self.asked = says, [name], list[ChatQuery]()

    def complete(self, queries: Sequence[ChatQuery]) -> Iterator[tuple[int, ChatReply | QueryRefused]]:
        for place, query in reversed(list(enumerate(queries))):  # in any order
            self.asked.append(query)
            said = self.says(query)
            yield (
                place,
                said if isinstance(said, (ChatReply, QueryRefused)) else ChatReply(said, tokens_in=10, tokens_out=2),
            )


class Memory:
    """Keeps what JSON can hold, by what JSON can hold."""

    def __init__(self) -> None:
        self.kept = dict[str, str]()

    def get(self, parts: Sequence[Any]) -> Any:  # noqa: ANN401
        kept = self.kept.get(json.dumps(parts))
        return None if kept is None else json.loads(kept)

    def put(self, parts: Sequence[Any], record: Mapping[str, Any]) -> None:
        self.kept[json.dumps(parts)] = json.dumps(record)


def language(
    vision: object,
    text: object = None,
    memory: Memory | None = None,
    votes: Mapping[str, object] | None = None,
    **changes: object,
) -> LanguageModels:
    """Models with short replies, on small images; `votes` and `changes` are parameters of label.language."""
    return LanguageModels(vision, text or vision, memory or Memory(), language_params(votes=votes or {}, **changes))  # type: ignore[arg-type]


def language_params(**changes: object) -> Language:
    return defaults.section(Label, "label", language={**MANNER, **changes}).language


def request(models: LanguageModels, **definitions: str) -> LabelRequest:
    def never(*_: object) -> Any:  # noqa: ANN401
        raise AssertionError("a language model is asked, and nobody else")

    return LabelRequest(NAMES, PHRASES, (), (), never, never, definitions, lambda: models)


def frames(number: int = 1, shape: tuple[int, int] = (20, 30)) -> list[NamedImage]:
    return [NamedImage(f"f{i}", lambda i=i: noise(shape, i)) for i in range(number)]  # type: ignore[misc]


def names(scores: np.ndarray) -> list[str]:
    return [name for name, score in zip(NAMES, scores, strict=True) if score > 0.5]
