"""Asks a language model which classes of a list apply: what the methods that end in such a list have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wildseg.core.errors import ModelError
from wildseg.labels.interface import Answer, NamedImage, Question
from wildseg.labels.language.conversation import Conversation, Decision, decided, lead
from wildseg.labels.language.messages import Ask, Language, Message, Picture
from wildseg.labels.language.prompts import fill, listing
from wildseg.labels.language.voting import voted
from wildseg.labels.parsing import Vocabulary

Vote = Conversation[tuple[Decision, Sequence[dict[str, Any]]]]  # the decision, and what was said before it


@dataclass(frozen=True)
class Listed:
    """The classes in one order, the models, and one vote's seed."""

    question: Question
    language: Language
    vocabulary: Vocabulary
    order: Sequence[int]
    seed: int

    def fill(self, prompt: str, **words: str) -> str:
        """Return a prompt with the list of classes, and `words`, in their places."""
        names, phrases = self.question.class_names, self.question.phrases
        shown = [names[index] for index in self.order]
        lines = listing(shown, [phrases[index] for index in self.order], self.question.definitions)
        return fill(prompt, classes=lines, names=", ".join(shown), **words)

    def free(self, messages: tuple[Message, ...], picture: Picture | None) -> Ask:
        """Return a question that may be answered in any words."""
        manner = self.language.manner
        return Ask(messages, picture, manner.temperature, self.seed, manner.max_tokens)

    def decide(
        self, messages: tuple[Message, ...], picture: Picture | None, *, last: bool = False, free: bool = False
    ) -> Conversation[Decision]:
        """Ask for names of classes; `last`, `free`: words may come before them."""
        manner = self.language.manner
        names = tuple(self.question.class_names[index] for index in self.order)
        ask = Ask(messages, picture, manner.temperature, self.seed, manner.max_tokens, None if free else names)
        return decided(ask, self.vocabulary, manner.reminder, names, last=last)


def answers(
    frames: Sequence[NamedImage], question: Question, one: Callable[[Listed, Picture], Vote]
) -> Iterator[Answer]:
    """Yield the answer about each of `frames`: what `one` conversation, or several, decide.

    Raises:
        ModelError: a model cannot be had.
    """
    language = _language(question)
    vocabulary = Vocabulary(question.class_names, question.phrases)

    def vote(picture: Picture, order: Sequence[int], seed: int) -> Vote:
        return one(Listed(question, language, vocabulary, order, seed), picture)

    return lead(frames, language, lambda picture: voted(picture, question.class_names, language.manner, vote))


def _language(question: Question) -> Language:
    if question.language is None:
        raise ModelError("label.method: expected a language model to ask, found none")
    return question.language()
