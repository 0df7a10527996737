"""Asks a language model which classes of a list apply: what the methods that end in such a list have in common."""

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

Vote = Conversation[tuple[Decision, Sequence[dict[str, Any]]]]  # the decision, and what was said before it


@dataclass(frozen=True)
class ClassList:
    """The classes in one order, the models, and one vote's seed."""

    request: LabelRequest
    language: LanguageModels
    vocabulary: Vocabulary
    order: Sequence[int]
    seed: int

    def fill(self, prompt: str, **words: str) -> str:
        """Return a prompt with the list of classes, and `words`, in their places."""
        names, phrases = self.request.class_names, self.request.phrases
        shown = [names[index] for index in self.order]
        lines = class_lines(shown, [phrases[index] for index in self.order], self.request.definitions)
        return fill_template(prompt, classes=lines, names=", ".join(shown), **words)

    def free(self, messages: tuple[Message, ...], image: ImageInput | None) -> ChatQuery:
        """Return a question that may be answered in any words."""
        sampling = self.language.sampling
        return ChatQuery(messages, image, sampling.temperature, self.seed, sampling.max_tokens)

    def decide(
        self, messages: tuple[Message, ...], image: ImageInput | None, *, last: bool = False, free: bool = False
    ) -> Conversation[Decision]:
        """Ask for names of classes; `last`, `free`: words may come before them."""
        sampling = self.language.sampling
        names = tuple(self.request.class_names[index] for index in self.order)
        query = ChatQuery(
            messages, image, sampling.temperature, self.seed, sampling.max_tokens, None if free else names
        )
        return query_names(query, self.vocabulary, sampling.reminder, names, last=last)


def label_by_list(
    frames: Sequence[NamedImage], request: LabelRequest, one: Callable[[ClassList, ImageInput], Vote]
) -> Iterator[LabelResult]:
    """Yield the answer about each of `frames`: what `one` conversation, or several, decide.

    Raises:
        ModelError: a model cannot be had.
    """
    language = _language(request)
    vocabulary = Vocabulary(request.class_names, request.phrases)

    def vote(image: ImageInput, order: Sequence[int], seed: int) -> Vote:
        return one(ClassList(request, language, vocabulary, order, seed), image)

    return label_frames(
        frames, language, lambda image: vote_labels(image, request.class_names, language.sampling, vote)
    )


def _language(request: LabelRequest) -> LanguageModels:
    if request.language is None:
        raise ModelError("label.method: expected a language model to ask, found none")
    return request.language()
