"""A vision-language model describes the picture, and a language model that sees nothing decides by the description.

The two may be different models on different servers: `label.language.model` sees, `label.language.text_model` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wildseg.labels.interface import Answer, NamedImage, Question
from wildseg.labels.language.conversation import Decision, turn
from wildseg.labels.language.listed import Listed, Vote, answers
from wildseg.labels.language.messages import Picture
from wildseg.labels.language.prompts import check
from wildseg.labels.parsing import Parsed, spoken

NEEDS = frozenset({"language"})


def label(
    frames: Sequence[NamedImage], question: Question, *, describe: str = "", decide: str = ""
) -> Iterator[Answer]:
    """Yield for each of `frames` 1 for classes that are decided for and 0 for others, or their shares of several votes.

    Args:
        frames: what to ask about.
        question: the classes, what they mean, and the models.
        describe: asks for a description.
        decide: asks for names; ``{description}`` is what was said, ``{classes}`` the list.

    Raises:
        ParamsError: a prompt that lacks its description or list.
        ModelError: a model cannot be had.
    """
    check("label.options.describe_then_decide.describe", describe)
    check("label.options.describe_then_decide.decide", decide, "description", "classes")

    def one(listed: Listed, picture: Picture) -> Vote:
        ask = listed.free((("user", listed.fill(describe)),), picture)
        (reply,) = yield [ask]
        said = [turn(ask, reply)]
        description = spoken(reply.text)
        if not description:  # nobody can decide by that
            return Decision(Parsed((), (), "no description"), ()), said
        words = (("user", listed.fill(decide, description=description)),)
        decision = yield from listed.decide(words, None, last=True)
        return decision, said

    return answers(frames, question, one)
