"""One question to a vision-language model: which of these classes are in the picture, as a JSON list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wildseg.labels.interface import Answer, NamedImage, Question
from wildseg.labels.language.listed import Listed, Vote, answers
from wildseg.labels.language.messages import Picture
from wildseg.labels.language.prompts import check

NEEDS = frozenset({"language"})


def label(frames: Sequence[NamedImage], question: Question, *, prompt: str = "") -> Iterator[Answer]:
    """Yield for each of `frames` 1 for classes that the model names and 0 for others, or their shares of several votes.

    Args:
        frames: what to ask about.
        question: the classes, what they mean, and the model.
        prompt: what is asked; ``{classes}`` is the list, a line each, ``{names}`` the names alone.

    Raises:
        ParamsError: a prompt without the list of classes.
        ModelError: the model cannot be had.
    """
    check("label.options.vlm_direct.prompt", prompt, "names" if "{names}" in str(prompt) else "classes")

    def one(listed: Listed, picture: Picture) -> Vote:
        decision = yield from listed.decide((("user", listed.fill(prompt)),), picture)
        return decision, ()

    return answers(frames, question, one)
