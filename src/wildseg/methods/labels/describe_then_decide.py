"""A vision-language model describes the image, and a text model decides by the description.

The two may be different models on different servers: `label.language.model` describes, `label.language.text_model`
decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.language.class_list import ClassList, Vote, label_by_list
from wildseg.labels.language.conversation import Decision, turn_record
from wildseg.labels.language.messages import ImageInput
from wildseg.labels.language.prompts import check_prompt
from wildseg.labels.parsing import Parsed, without_reasoning

NEEDS = frozenset({"language"})


def label(
    frames: Sequence[NamedImage], request: LabelRequest, *, describe: str = "", decide: str = ""
) -> Iterator[LabelResult]:
    """Yield for each of `frames` 1 for classes that are decided for and 0 for others, or their shares of several votes.

    Args:
        frames: the frames.
        request: the classes, their definitions, and the models.
        describe: prompt for a description.
        decide: prompt for names; ``{description}`` is the description, ``{classes}`` the list.

    Raises:
        ParamsError: a prompt that lacks its description or list.
        ModelError: a model cannot be used.
    """
    check_prompt("label.options.describe_then_decide.describe", describe)
    check_prompt("label.options.describe_then_decide.decide", decide, "description", "classes")

    def one(listed: ClassList, image: ImageInput) -> Vote:
        query = listed.free((("user", listed.fill(describe)),), image)
        (reply,) = yield [query]
        turns = [turn_record(query, reply)]
        description = without_reasoning(reply.text)
        if not description:
            return Decision(Parsed((), (), "no description"), ()), turns
        messages = (("user", listed.fill(decide, description=description)),)
        decision = yield from listed.decide(messages, None, last=True)
        return decision, turns

    return label_by_list(frames, request, one)
