"""Sharpness of a template: the spread of the probabilities of a frame's classes (CLIP-ES, Lin et al. 2023).

For a template and frame i with the present classes j, ``s_ij`` is the probability of class j in frame i, the softmax
over all classes. ``sharpness = sum_i var_j(s_ij) / sum_i mean_j(s_ij)``, with the population variance, over frames with
at least two classes. The paper found that templates of low sharpness give better maps, so the lowest wins. A template
that separates no classes has a low one, too: only templates whose top-1 accuracy is close to that of the best one
are ranked.

The paper specifies neither the variance nor whether the frames' ratios are summed or averaged; both are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wildseg.encoders.params import Sharpest

# Frames with two classes, below which chance decides. On the demo, where 61 frames rank 88 templates, the choice of any
# 8 of them was among the first six, that of 4 now and then the last.
MIN_FRAMES = 8


@dataclass(frozen=True)
class Candidate:
    """One template: its sharpness (None where no frame shows two classes), and whether it may be chosen.

    top1: the share of frames whose likeliest class is present; None where no frame shows any class.
    """

    template: str
    sharpness: float | None
    top1: float | None
    below_guard: bool


@dataclass(frozen=True)
class Ranking:
    """All candidates, the best first; `frames` of the `sampled_frames` show two classes or more."""

    candidates: tuple[Candidate, ...]
    frames: int
    sampled_frames: int

    @property
    def best(self) -> str:
        """The template to use."""
        return self.candidates[0].template

    @property
    def below_guard(self) -> int:
        """How many candidates may not be chosen."""
        return sum(candidate.below_guard for candidate in self.candidates)

    @property
    def sufficient(self) -> bool:
        """Whether there were enough frames to rank by sharpness."""
        return self.frames >= MIN_FRAMES


def sharpness(scores: Sequence[np.ndarray], reduction: str = "ratio_of_sums") -> float:
    """Return the sharpness of one template.

    Args:
        scores: for each frame the probabilities of its present classes, two or more.
        reduction: ``ratio_of_sums`` or ``mean_of_ratios``.
    """
    variances = np.array([row.var() for row in scores])
    means = np.array([row.mean() for row in scores])
    return float(variances.sum() / means.sum() if reduction == "ratio_of_sums" else (variances / means).mean())


def rank(templates: Sequence[str], probabilities: np.ndarray, present: np.ndarray, sharpest: Sharpest) -> Ranking:
    """Rank templates by sharpness, lowest first; those below the guard come last.

    With fewer than `MIN_FRAMES` frames of two classes, the order is by `top1`, highest first. Equals keep their order.

    Args:
        templates: the T candidates.
        probabilities: (n, T, C) probabilities, the softmax over the classes.
        present: (n, C) bool, the classes of each frame.
        sharpest: the parameters: `reduction`, see `sharpness`, and `guard`, how far a template's `top1` may lie below
            the best one's, 0 to 1.
    """
    several = present.sum(1) >= 2
    accuracy = _top1(probabilities, present)
    best = max((value for value in accuracy if value is not None), default=0.0)
    ranked = []
    for index, template in enumerate(templates):
        scores = [probabilities[i, index, present[i]] for i in np.flatnonzero(several)]
        value, top1 = (sharpness(scores, sharpest.reduction) if scores else None), accuracy[index]
        ranked.append(
            Candidate(template, value, top1, below_guard=top1 is not None and top1 < best - sharpest.guard - 1e-9)
        )
    ranking = Ranking(tuple(ranked), int(several.sum()), len(present))
    order = _by_sharpness if ranking.sufficient else _by_top1
    return Ranking(tuple(sorted(ranked, key=order)), ranking.frames, ranking.sampled_frames)


def _top1(probabilities: np.ndarray, present: np.ndarray) -> list[float | None]:
    some = present.any(1)
    if not some.any():
        return [None] * probabilities.shape[1]
    guesses = probabilities[some].argmax(2)  # (n, T)
    return [float(share) for share in np.take_along_axis(present[some], guesses, 1).mean(0)]


def _by_sharpness(candidate: Candidate) -> tuple[bool, float]:
    return candidate.below_guard, candidate.sharpness or 0.0


def _by_top1(candidate: Candidate) -> float:
    return -(candidate.top1 or 0.0)
