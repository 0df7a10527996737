"""Which frames to correct first: those with the most disputed pixels, of classes that are not yet well covered.

A pixel is disputed where the pseudo mask leaves it undecided, or names another class than the trained model. A set S of
frames is worth ``sum_c sqrt(sum_{f in S} d_fc)``, with d_fc the disputed pixels of class c in frame f: a concave
function of sums, so that a second frame of the same dispute is worth less than the first of another (feature-based
submodular functions: Wei, Iyer and Bilmes, Submodularity in Data Subset Selection and Active Learning, ICML 2015).
"""

from __future__ import annotations

import numpy as np

from wildseg.core.classes import IGNORE


def disputed_pixels(pseudo: np.ndarray, prediction: np.ndarray, num_classes: int) -> tuple[np.ndarray, int]:
    """Return the disputed pixels that either image gives to each id, (num_classes,) int64, and their number.

    A pixel that the two give to different classes counts for both of these, and once in the number.

    Args:
        pseudo: (H, W) uint8 ids of the pseudo mask, 255 where it is undecided.
        prediction: (H, W) uint8 ids that the model predicts.
        num_classes: n, background included; other ids count for no class.
    """
    disputed = (pseudo != prediction) | (pseudo == IGNORE)
    own, other = (np.bincount(ids[disputed], minlength=256)[:num_classes] for ids in (pseudo, prediction))
    return own + other, int(disputed.sum())


def select(counts: np.ndarray, number: int) -> list[int]:
    """Return at most `number` frames of disputed pixels (F, n), the most valuable first; frames without any never.

    The greedy choice is worth at least 1 - 1/e of the best set of its size (Nemhauser, Wolsey and Fisher, Mathematical
    Programming 1978). Of equals the first is taken.
    """
    remaining = np.flatnonzero(counts.any(axis=1))
    covered = np.zeros(counts.shape[1])
    chosen: list[int] = []
    while len(remaining) and len(chosen) < number:
        gains = (np.sqrt(covered + counts[remaining]) - np.sqrt(covered)).sum(axis=1)
        best = int(gains.argmax())
        chosen.append(int(remaining[best]))
        covered = covered + counts[remaining[best]]
        remaining = np.delete(remaining, best)
    return chosen
