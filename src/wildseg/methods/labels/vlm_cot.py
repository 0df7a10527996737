"""A vision-language model thinks aloud: it describes the scene, weighs each class by what is seen, and then decides.

In three turns that keep the picture, of which only the last must be a list of names; or in one, of which the last JSON
object counts (chain of thought, Wei et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from wildseg.core.errors import ParamsError
from wildseg.labels.interface import Answer, NamedImage, Question
from wildseg.labels.language.conversation import turn
from wildseg.labels.language.listed import Listed, Vote, answers
from wildseg.labels.language.messages import Message, Picture
from wildseg.labels.language.prompts import check
from wildseg.labels.parsing import spoken

NEEDS = frozenset({"language"})


def label(
    frames: Sequence[NamedImage],
    question: Question,
    *,
    turns: Literal[1, 3] = 3,
    describe: str = "",
    weigh: str = "",
    decide: str = "",
) -> Iterator[Answer]:
    """Yield for each of `frames` 1 for classes that the model decides for and 0 for others, or their shares of votes.

    Args:
        frames: what to ask about.
        question: the classes, what they mean, and the model.
        turns: 3, or 1: all three at once, one question a frame instead of three.
        describe: asks for the scene.
        weigh: asks for evidence for and against each class; ``{classes}`` is the list.
        decide: asks for the names.

    Raises:
        ParamsError: another number of turns, or a prompt that lacks its list.
        ModelError: the model cannot be had.
    """
    if turns not in (1, 3) or isinstance(turns, bool):
        raise ParamsError(f"label.options.vlm_cot.turns: expected 1 or 3, found {turns!r}")
    check("label.options.vlm_cot.describe", describe)
    check("label.options.vlm_cot.weigh", weigh, "classes")
    check("label.options.vlm_cot.decide", decide)

    def at_once(listed: Listed, picture: Picture) -> Vote:
        steps = "\n\n".join(listed.fill(step) for step in (describe, weigh, decide))
        decision = yield from listed.decide((("user", steps),), picture, last=True, free=True)
        return decision, ()

    def step_by_step(listed: Listed, picture: Picture) -> Vote:
        said: tuple[Message, ...] = ()
        recorded = []
        for step in (describe, weigh):
            ask = listed.free((*said, ("user", listed.fill(step))), picture)
            (reply,) = yield [ask]
            recorded.append(turn(ask, reply))
            said = (*ask.messages, ("assistant", spoken(reply.text) or "-"))
        decision = yield from listed.decide((*said, ("user", listed.fill(decide))), picture, last=True)
        return decision, recorded

    return answers(frames, question, at_once if turns == 1 else step_by_step)
