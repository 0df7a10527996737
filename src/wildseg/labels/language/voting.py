"""Several answers to one question, and the share of them that name a class (self-consistency, Wang et al. 2023).

``v_c = (1/K) sum_k Y_c^k`` over the K answers that can be read. The first is asked as if there were no other. Those
after it have another seed, the classes in another order, since models favour what stands first, and every other one a
mirrored picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wildseg.labels.interface import LabelResult
from wildseg.labels.language.conversation import Conversation, Decision, gather, record
from wildseg.labels.language.messages import ImageInput, SamplingParams

# Asks about a picture, with the classes in an order given by their indices and a seed; returns the decision, and what
# was said before it was made.
OneVote = Callable[[ImageInput, Sequence[int], int], Conversation[tuple[Decision, Sequence[dict[str, Any]]]]]

SEED_STEP = 1000  # between votes, so that a retry (the next seed) is nobody else's first try


def vote_labels(
    image: ImageInput, names: Sequence[str], sampling: SamplingParams, one: OneVote
) -> Conversation[LabelResult]:
    """Ask `sampling.votes` times and return the shares of votes as scores; no readable answer at all scores 0."""
    conversations = []
    for vote in range(sampling.votes):
        seen = image.flipped() if sampling.flip and vote % 2 else image
        conversations.append(one(seen, class_order(len(names), sampling, vote), sampling.seed + SEED_STEP * vote))
    outcomes = yield from gather(conversations)
    decisions = [decision for decision, _ in outcomes]
    said = [turn for _, turns in outcomes for turn in turns]
    return LabelResult(shares(decisions, len(names)), threshold(sampling.ties), record(decisions, names, said))


def class_order(classes: int, sampling: SamplingParams, vote: int) -> list[int]:
    """Return the order in which a vote lists the classes; the first vote has that of params.yaml."""
    places = list(range(classes))
    if sampling.shuffle and vote:
        random.Random(sampling.seed * SEED_STEP + vote).shuffle(places)
    return places


def shares(decisions: Sequence[Decision], classes: int) -> np.ndarray:
    """Return the share of readable answers that name each class: (K,) float64 in [0, 1]."""
    votes = [decision.parsed.present for decision in decisions if not decision.parsed.error]
    scores = np.zeros(classes)
    for present in votes:
        scores[list(present)] += 1
    return scores / max(len(votes), 1)


def threshold(ties: bool) -> float:
    """Return where shares are cut: half the votes are enough, or are not. Scores must lie strictly above it."""
    return 0.5 - 1e-6 if ties else 0.5
