"""Queries for the classes of a list that apply, shared by the methods that end in such a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wildseg.core.errors import ModelError
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.language.conversation import Conversation, Decision, label_frames, query_names
from wildseg.labels.language.messages import ChatQuery, ImageInput, LanguageModels, Message
from wildseg.labels.language.prompts import class_lines, fill_template
from wildseg.labels.language.voting import vote_labels
from wildseg.labels.parsing import Vocabulary

Vote = Conversation[tuple[Decision, Sequence[dict[str, Any]]]]  # the decision, and the records of the turns before


@dataclass(frozen=True)
class ClassList:
    """The classes in one order, the models, and the seed of one vote."""

    request: LabelRequest
    language: LanguageModels
    vocabulary: Vocabulary
    order: Sequence[int]
    seed: int

    def fill(self, prompt: str, **words: str) -> str:
        """Fill a prompt's placeholders with the list of classes and `words`."""
        names, phrases = self.request.class_names, self.request.phrases
        shown = [names[index] for index in self.order]
        lines = class_lines(shown, [phrases[index] for index in self.order], self.request.definitions)
        return fill_template(prompt, classes=lines, names=", ".join(shown), **words)

    def free(self, messages: tuple[Message, ...], image: ImageInput | None) -> ChatQuery:
        """Return a query for free text."""
        return self._query(messages, image)

    def decide(
        self, messages: tuple[Message, ...], image: ImageInput | None, *, last: bool = False, free: bool = False
    ) -> Conversation[Decision]:
        """Query class names; `last`, `free`: text may precede them."""
        names = tuple(self.request.class_names[index] for index in self.order)
        query = self._query(messages, image, None if free else names)
        return query_names(query, self.vocabulary, self.language.params.reminder, names, last=last)

    def _query(
        self, messages: tuple[Message, ...], image: ImageInput | None, names: tuple[str, ...] | None = None
    ) -> ChatQuery:
        params = self.language.params
        return ChatQuery(messages, image, params.temperature, self.seed, params.max_tokens, names)


def label_by_list(
    frames: Sequence[NamedImage], request: LabelRequest, one: Callable[[ClassList, ImageInput], Vote]
) -> Iterator[LabelResult]:
    """Yield the result of each of `frames`, by `one` conversation or the votes of several.

    Raises:
        ModelError: a model cannot be used.
    """
    language = _language(request)
    vocabulary = Vocabulary(request.class_names, request.phrases)

    def vote(image: ImageInput, order: Sequence[int], seed: int) -> Vote:
        return one(ClassList(request, language, vocabulary, order, seed), image)

    return label_frames(frames, language, lambda image: vote_labels(image, request.class_names, language.params, vote))


def _language(request: LabelRequest) -> LanguageModels:
    if request.language is None:
        raise ModelError("label.method: expected a language model, found none")
    return request.language()
