"""A vision-language model describes the picture, and a language model that sees nothing decides by the description.

The two may be different models on different servers: `label.language.model` sees, `label.language.text_model` decides.
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
        frames: what to ask about.
        request: the classes, what they mean, and the models.
        describe: asks for a description.
        decide: asks for names; ``{description}`` is what was said, ``{classes}`` the list.

    Raises:
        ParamsError: a prompt that lacks its description or list.
        ModelError: a model cannot be had.
    """
    check_prompt("label.options.describe_then_decide.describe", describe)
    check_prompt("label.options.describe_then_decide.decide", decide, "description", "classes")

    def one(listed: ClassList, image: ImageInput) -> Vote:
        query = listed.free((("user", listed.fill(describe)),), image)
        (reply,) = yield [query]
        said = [turn_record(query, reply)]
        description = without_reasoning(reply.text)
        if not description:  # nobody can decide by that
            return Decision(Parsed((), (), "no description"), ()), said
        words = (("user", listed.fill(decide, description=description)),)
        decision = yield from listed.decide(words, None, last=True)
        return decision, said

    return label_by_list(frames, request, one)
