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
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.language.conversation import Conversation, label_frames, turn_record
from wildseg.labels.language.messages import ChatQuery, ImageInput
from wildseg.labels.language.prompts import check_prompt, class_description, fill_template

NEEDS = frozenset({"language"})


def label(frames: Sequence[NamedImage], request: LabelRequest, *, prompt: str = "") -> Iterator[LabelResult]:
    """Yield for each of `frames` how likely yes is against no for each class; of two looks if there are votes.

    A class about which the model thinks of neither word scores 0, and the record says so.

    Args:
        frames: what to ask about.
        request: the classes, what they mean, and the model.
        prompt: what is asked; ``{class}`` is the class.

    Raises:
        ParamsError: a prompt without a place for the class.
        ModelError: the model cannot be had, or tells no likelihoods.
    """
    check_prompt("label.options.vlm_yes_no.prompt", prompt, "class")
    if request.language is None:
        raise ModelError("label.method: expected a language model to ask, found none")
    language, names = request.language(), request.class_names
    sampling = language.sampling
    said = [own[0] for own in request.phrases]
    for place, name in enumerate(names):
        if name in request.definitions:
            said[place] += f" ({class_description((), request.definitions[name])})"

    def about(image: ImageInput) -> Conversation[LabelResult]:
        # A word's likelihood is no sample: a mirrored picture is all that can be another vote.
        views = [image, image.flipped()] if sampling.flip and sampling.votes > 1 else [image]
        queries = [
            ChatQuery((("user", fill_template(prompt, **{"class": one})),), look, 0.0, 0, 1, yes_no=True)
            for look in views
            for one in said
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
