"""A vision-language model is asked about one class at a time, and its belief in yes against no is the score.

``p_c = sum_{t in YES} e^{l_t} / (sum_{t in YES} e^{l_t} + sum_{t in NO} e^{l_t})`` over the logits l of the next token,
with YES and NO the ways to write either word. Unlike a list of names this gives a ranking, and a threshold to tune. On
this machine the picture is read once for all classes; a server is asked once a class, and keeps what it read if it can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from wildseg.core.errors import ModelError
from wildseg.labels.interface import Answer, NamedImage, Question
from wildseg.labels.language.conversation import Conversation, lead, turn
from wildseg.labels.language.messages import Ask, Picture
from wildseg.labels.language.prompts import check, described, fill

NEEDS = frozenset({"language"})


def label(frames: Sequence[NamedImage], question: Question, *, prompt: str = "") -> Iterator[Answer]:
    """Yield for each of `frames` how likely yes is against no for each class; of two looks if there are votes.

    A class about which the model thinks of neither word scores 0, and the record says so.

    Args:
        frames: what to ask about.
        question: the classes, what they mean, and the model.
        prompt: what is asked; ``{class}`` is the class.

    Raises:
        ParamsError: a prompt without a place for the class.
        ModelError: the model cannot be had, or tells no likelihoods.
    """
    check("label.options.vlm_yes_no.prompt", prompt, "class")
    if question.language is None:
        raise ModelError("label.method: expected a language model to ask, found none")
    language, names = question.language(), question.class_names
    manner = language.manner
    said = [own[0] for own in question.phrases]
    for place, name in enumerate(names):
        if name in question.definitions:
            said[place] += f" ({described((), question.definitions[name])})"

    def about(picture: Picture) -> Conversation[Answer]:
        # A word's likelihood is no sample: a mirrored picture is all that can be another vote.
        looks = [picture, picture.flipped()] if manner.flip and manner.votes > 1 else [picture]
        asks = [
            Ask((("user", fill(prompt, **{"class": one})),), look, 0.0, 0, 1, yes_no=True)
            for look in looks
            for one in said
        ]
        replies = yield asks
        believed = np.array([0.0 if reply.yes is None else reply.yes for reply in replies]).reshape(len(looks), -1)
        unsaid = [names[place % len(names)] for place, reply in enumerate(replies) if reply.yes is None]
        record = {
            "turns": [turn(ask, replace(reply, cut=False)) for ask, reply in zip(asks, replies, strict=True)],
            "parsed": [[name for name, score in zip(names, row, strict=True) if score > 0.5] for row in believed],
            "refused": [],
            "retries": 0,
            "parse_error": f"neither yes nor no: {', '.join(unsaid)}" if unsaid else None,
            "parse_errors": len(unsaid),
        }
        return Answer(believed.mean(0), 0.5, record)

    return lead(frames, language, about)
