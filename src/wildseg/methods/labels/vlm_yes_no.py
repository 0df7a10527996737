"""One yes-or-no query per class to a vision-language model; the score is the probability of yes against no.

``p_c = sum_{t in YES} e^{l_t} / (sum_{t in YES} e^{l_t} + sum_{t in NO} e^{l_t})`` over the logits l of the next token,
with YES and NO the ways to write either word. Unlike a list of names this gives a ranking, and a threshold to tune. A
local model encodes the image once for all classes; a server gets one request per class, and may cache the prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from wildseg.core.errors import ModelError
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.language.conversation import Conversation, label_frames, turn_record
from wildseg.labels.language.messages import ChatQuery, ImageInput
from wildseg.labels.language.prompts import check_prompt, class_description, fill_template

NEEDS = frozenset({"language"})


def label(frames: Sequence[NamedImage], request: LabelRequest, *, prompt: str = "") -> Iterator[LabelResult]:
    """Yield for each of `frames` the probability of yes for each class; with votes, the mean with a mirrored image.

    A class with neither word among the likely tokens scores 0, and the record lists it.

    Args:
        frames: the frames.
        request: the classes, their definitions, and the model.
        prompt: the query; ``{class}`` is the class.

    Raises:
        ParamsError: a prompt without a place for the class.
        ModelError: the model cannot be had, or tells no likelihoods.
    """
    check_prompt("label.options.vlm_yes_no.prompt", prompt, "class")
    if request.language is None:
        raise ModelError("label.method: expected a language model, found none")
    language, names = request.language(), request.class_names
    votes = language.params.votes
    subjects = [own[0] for own in request.phrases]
    for place, name in enumerate(names):
        if name in request.definitions:
            subjects[place] += f" ({class_description((), request.definitions[name])})"

    def about(image: ImageInput) -> Conversation[LabelResult]:
        # A token's probability is no sample, so that only a mirrored image gives another vote.
        views = [image, image.flipped()] if votes.flip and votes.number > 1 else [image]
        queries = [
            ChatQuery((("user", fill_template(prompt, **{"class": one})),), view, 0.0, 0, 1, yes_no=True)
            for view in views
            for one in subjects
        ]
        replies = yield queries
        believed = np.array([0.0 if reply.yes is None else reply.yes for reply in replies]).reshape(len(views), -1)
        unsaid = [names[place % len(names)] for place, reply in enumerate(replies) if reply.yes is None]
        record = {
            "turns": [
                turn_record(query, replace(reply, cut=False)) for query, reply in zip(queries, replies, strict=True)
            ],
            "parsed": [[name for name, score in zip(names, row, strict=True) if score > 0.5] for row in believed],
            "refused": [],
            "retries": 0,
            "parse_error": f"neither yes nor no: {', '.join(unsaid)}" if unsaid else None,
            "parse_errors": len(unsaid),
        }
        return LabelResult(believed.mean(0), 0.5, record)

    return label_frames(frames, language, about)
