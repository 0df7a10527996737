"""Chain of thought (Wei et al. 2022): a vision-language model describes the scene, weighs each class, and decides.

This takes three turns with the image, of which the last must be a list of names; or one turn, whose last JSON object
counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from wildseg.core.errors import ParamsError
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.language.class_list import ClassList, Vote, label_by_list
from wildseg.labels.language.conversation import turn_record
from wildseg.labels.language.messages import ImageInput, Message
from wildseg.labels.language.prompts import check_prompt
from wildseg.labels.parsing import without_reasoning

NEEDS = frozenset({"language"})


def label(
    frames: Sequence[NamedImage],
    request: LabelRequest,
    *,
    turns: Literal[1, 3] = 3,
    describe: str = "",
    weigh: str = "",
    decide: str = "",
) -> Iterator[LabelResult]:
    """Yield for each of `frames` 1 for classes that the model decides for and 0 for others, or their shares of votes.

    Args:
        frames: the frames.
        request: the classes, their definitions, and the model.
        turns: 3, or 1: all three at once, one question a frame instead of three.
        describe: prompt for the scene.
        weigh: prompt for evidence for and against each class; ``{classes}`` is the list.
        decide: prompt for the names.

    Raises:
        ParamsError: another number of turns, or a prompt that lacks its list.
        ModelError: the model cannot be used.
    """
    if turns not in (1, 3) or isinstance(turns, bool):
        raise ParamsError(f"label.options.vlm_cot.turns: expected 1 or 3, found {turns!r}")
    check_prompt("label.options.vlm_cot.describe", describe)
    check_prompt("label.options.vlm_cot.weigh", weigh, "classes")
    check_prompt("label.options.vlm_cot.decide", decide)

    def at_once(listed: ClassList, image: ImageInput) -> Vote:
        steps = "\n\n".join(listed.fill(step) for step in (describe, weigh, decide))
        decision = yield from listed.decide((("user", steps),), image, last=True, free=True)
        return decision, ()

    def step_by_step(listed: ClassList, image: ImageInput) -> Vote:
        history: tuple[Message, ...] = ()
        recorded = []
        for step in (describe, weigh):
            query = listed.free((*history, ("user", listed.fill(step))), image)
            (reply,) = yield [query]
            recorded.append(turn_record(query, reply))
            history = (*query.messages, ("assistant", without_reasoning(reply.text) or "-"))
        decision = yield from listed.decide((*history, ("user", listed.fill(decide))), image, last=True)
        return decision, recorded

    return label_by_list(frames, request, at_once if turns == 1 else step_by_step)
