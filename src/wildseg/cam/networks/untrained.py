"""Whether a classifier has learned from its images: compared with one that answers each class by its frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wildseg.training.events import Event

TERM = "classification"  # of `ClassifierObjective`
LAST = 0.1  # share of its reported events that are averaged
MARGIN = 0.97  # a loss above this share of the entropy is no better than it


def entropy(labels: np.ndarray) -> float:
    """Return the binary cross entropy of answering each class by its frequency, the mean over classes.

    It is the lowest loss that needs no image.

    Args:
        labels: (N, C) bool.
    """
    share = labels.mean(0)
    terms = [part * np.log(part, where=part > 0, out=np.zeros_like(part)) for part in (share, 1 - share)]
    return float(-np.mean(terms[0] + terms[1]))


def remark(labels: np.ndarray, history: Sequence[Event], section: str) -> str | None:
    """Return a line where a classifier ended no better than the class frequencies; else None.

    Args:
        labels: (N, C) bool of the training frames.
        history: events of its training.
        section: of params.yaml, for the line.
    """
    losses = [event.terms[TERM] for event in history if TERM in event.terms]
    last = losses[-max(1, round(LAST * len(losses))) :]
    expected = entropy(labels)
    if not last or expected == 0 or (found := float(np.mean(last))) < MARGIN * expected:
        return None
    return (
        f"the classifier has learned nothing from the images: its loss is {found:.3f}, that of answering each class by "
        f"its frequency {expected:.3f}; train for longer, at a lower or higher rate, or begin with pretrained weights: "
        f"see {section}"
    )
