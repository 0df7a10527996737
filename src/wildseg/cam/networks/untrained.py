"""Whether a classifier has learned from its images: compared with one that answers each class by its frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wildseg.training.events import Event

TERM = "classification"  # of `ClassifierObjective`
LAST = 0.1  # share of its reported events that are averaged
MARGIN = 0.97  # a loss above this share of the entropy is no better than it


def entropy(labels: np.ndarray, positive: np.ndarray | float = 1.0) -> float:
    """Return the binary cross entropy of answering each class by its frequency, the mean over classes.

    It is the lowest loss that needs no image: ``-(w p log q + (1 - p) log(1 - q))`` with ``q = w p / (w p + 1 - p)``.

    Args:
        labels: (N, C) bool.
        positive: (C,) the weight w of the positive term.
    """
    share = labels.mean(0)
    parts = positive * share, 1 - share
    whole = parts[0] + parts[1]
    terms = [part * np.log(part / whole, where=part > 0, out=np.zeros_like(part)) for part in parts]
    return float(-np.mean(terms[0] + terms[1]))


def remark(
    labels: np.ndarray, history: Sequence[Event], section: str, positive: np.ndarray | float = 1.0
) -> str | None:
    """Return a line where a classifier ended no better than the class frequencies; else None.

    Args:
        labels: (N, C) bool of the training frames, or of their tiles.
        history: events of its training.
        section: of params.yaml, for the line.
        positive: see `entropy`.
    """
    losses = [event.terms[TERM] for event in history if TERM in event.terms]
    last = losses[-max(1, round(LAST * len(losses))) :]
    expected = entropy(labels, positive)
    if not last or expected == 0 or (found := float(np.mean(last))) < MARGIN * expected:
        return None
    return (
        f"the classifier has learned nothing from the images: its loss is {found:.3f}, that of answering each class by "
        f"its frequency {expected:.3f}; train for longer, at a lower or higher rate, or begin with pretrained weights: "
        f"see {section}"
    )
