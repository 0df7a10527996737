"""One question to a vision-language model: which of these classes are in the picture, as a JSON list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.language.class_list import ClassList, Vote, label_by_list
from wildseg.labels.language.messages import ImageInput
from wildseg.labels.language.prompts import check_prompt

NEEDS = frozenset({"language"})


def label(frames: Sequence[NamedImage], request: LabelRequest, *, prompt: str = "") -> Iterator[LabelResult]:
    """Yield for each of `frames` 1 for classes that the model names and 0 for others, or their shares of several votes.

    Args:
        frames: what to ask about.
        request: the classes, what they mean, and the model.
        prompt: what is asked; ``{classes}`` is the list, a line each, ``{names}`` the names alone.

    Raises:
        ParamsError: a prompt without the list of classes.
        ModelError: the model cannot be had.
    """
    check_prompt("label.options.vlm_direct.prompt", prompt, "names" if "{names}" in str(prompt) else "classes")

    def one(listed: ClassList, image: ImageInput) -> Vote:
        decision = yield from listed.decide((("user", listed.fill(prompt)),), image)
        return decision, ()

    return label_by_list(frames, request, one)
