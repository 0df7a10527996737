"""Self-consistency (Wang et al. 2023): several replies per frame, and the share of them that names a class.

``v_c = (1/K) sum_k Y_c^k`` over the K replies that can be parsed. The first query is that of a single vote. Those
after it have another seed, the classes in another order, since models favour first entries, and every other one a
mirrored image.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.labels.interface import LabelResult
from wildseg.labels.language.conversation import Conversation, Decision, gather, record
from wildseg.labels.language.messages import ImageInput

if TYPE_CHECKING:
    from wildseg.labels.params import Language

# From an image, the order of the classes (indices) and a seed to the decision and the records of the turns before.
OneVote = Callable[[ImageInput, Sequence[int], int], Conversation[tuple[Decision, Sequence[dict[str, Any]]]]]

SEED_STEP = 1000  # between votes, so that a retry (the next seed) is nobody else's first try


def vote_labels(image: ImageInput, names: Sequence[str], language: Language, one: OneVote) -> Conversation[LabelResult]:
    """Query as often as there are votes and return the shares of votes as scores; 0 if no reply can be parsed."""
    conversations = []
    for vote in range(language.votes.number):
        view = image.flipped() if language.votes.flip and vote % 2 else image
        conversations.append(one(view, class_order(len(names), language, vote), language.seed + SEED_STEP * vote))
    outcomes = yield from gather(conversations)
    decisions = [decision for decision, _ in outcomes]
    recorded = [turn for _, turns in outcomes for turn in turns]
    return LabelResult(
        shares(decisions, len(names)), threshold(language.votes.ties == "present"), record(decisions, names, recorded)
    )


def class_order(classes: int, language: Language, vote: int) -> list[int]:
    """Return the order in which a vote lists the classes; the first vote has that of params.yaml."""
    places = list(range(classes))
    if language.votes.shuffle and vote:
        random.Random(language.seed * SEED_STEP + vote).shuffle(places)
    return places


def shares(decisions: Sequence[Decision], classes: int) -> np.ndarray:
    """Return the share of parsed replies that name each class: (K,) float64 in [0, 1]."""
    votes = [decision.parsed.present for decision in decisions if not decision.parsed.error]
    scores = np.zeros(classes)
    for present in votes:
        scores[list(present)] += 1
    return scores / max(len(votes), 1)


def threshold(ties: bool) -> float:
    """Return where shares are cut: half the votes are enough, or are not. Scores must lie strictly above it."""
    return 0.5 - 1e-6 if ties else 0.5
