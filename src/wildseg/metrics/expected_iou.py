"""The mIoU that a model expects of itself: IoU of expected counts under its own, recalibrated, probabilities.

If q_c(u) is the probability that pixel u is of class c, and the model predicts p(u), expected counts of class c are

    I_c = sum_{u: p(u) = c} q_c(u)      t_c = sum_u q_c(u)      n_c = |{u: p(u) = c}|

and ``I_c / (t_c + n_c - I_c)`` estimates its IoU: the ratio of expectations for the expectation of the ratio, which are
nearly the same over many pixels (Nowozin, "Optimal decisions from probabilistic models: the intersection-over-union
case", CVPR 2014).

The softmax s is recalibrated by a temperature, ``q = s^(1/T) / sum s^(1/T)`` (Guo et al., "On calibration of modern
neural networks", ICML 2017). Without truth, T minimises the log loss of the decided pixels of pseudo masks, on frames
that the model was not trained on. The assumptions: there, pseudo masks are right; one temperature serves all classes.
They fail where the model has learned an error of the pseudo masks: it agrees with them and is sure of it, so that the
estimate is too high. Errors of the masks that the model does not share make it too low.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wildseg.metrics import intervals
from wildseg.metrics.budget import Measure

TEMPERATURES = 2.0 ** (np.arange(-12, 19) / 6)  # 1/4 to 8, in steps of 12 %
PLAIN = 12  # the index of T = 1, where nothing says which is right
FLOOR = 1e-8  # of a probability whose logarithm is taken
FEWEST_SHARE = 1e-3  # of pixels that a class which is predicted nowhere has to have in expectation to be averaged


@dataclass(frozen=True)
class Estimate:
    """The expected mIoU with its interval, and the temperature; NaN where nothing was measured."""

    miou: Measure
    temperature: float


def pixel_statistics(probabilities: np.ndarray, mask: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return what `estimate` needs of some pixels, which adds up over frames.

    Args:
        probabilities: (n, P) of the classes by id, the sum over classes 1.
        mask: (P,) ids of the pseudo mask, 255 where it is open.
        ids: (C,) those that the model may predict; others have probability 0.

    Returns:
        (G, 3 n + 1) float64 for the temperatures G: by class, expected true positives, false positives, false
        negatives; then the sum of -log q of the pseudo mask's class, over its pixels of a class in `ids`.
    """
    number, pixels = probabilities.shape
    logs = np.log(np.maximum(probabilities[ids], FLOOR))  # (C, P)
    predicted = logs.argmax(axis=0)
    places = np.full(256, len(ids))
    places[ids] = np.arange(len(ids))
    target = places[mask]
    known = np.flatnonzero(target < len(ids))
    found = np.zeros((len(TEMPERATURES), 3 * number + 1))
    sizes = np.bincount(predicted, minlength=len(ids))
    for row, temperature in zip(found, TEMPERATURES, strict=True):
        scores = (logs - logs[predicted, np.arange(pixels)]) / temperature  # 0 for the largest
        tempered = np.exp(scores)
        total = tempered.sum(axis=0, dtype=np.float64)
        hits = np.bincount(predicted, 1 / total, minlength=len(ids))
        expected = (tempered / total).sum(axis=1, dtype=np.float64)
        counts = np.zeros((3, number))
        counts[:, ids] = hits, sizes - hits, expected - hits
        row[:-1] = counts.ravel()
        row[-1] = (np.log(total[known]) - scores[target[known], known]).sum()
    return found


def estimate(by_stretch: np.ndarray) -> Estimate:
    """Return the expected mIoU of frames, and its interval over redrawn stretches of them.

    In every draw the temperature is chosen anew. The interval holds what other frames might have given, and not that
    the assumptions fail.

    Args:
        by_stretch: (b, G, 3 n + 1), sums of `pixel_statistics` over the frames of each stretch.
    """
    if not len(by_stretch):
        nothing = float("nan")
        return Estimate(Measure(nothing, intervals.Interval(nothing, nothing)), nothing)
    whole = by_stretch.sum(axis=0)
    value = Measure(float(expected_miou(whole)), intervals.interval(by_stretch, expected_miou))
    return Estimate(value, float(TEMPERATURES[_chosen(whole)]))


def expected_miou(sums: np.ndarray) -> np.ndarray:
    """Return the expected mIoU (...) of sums (..., G, 3 n + 1) of `pixel_statistics`, at the temperature of least loss.

    A softmax never rules a class out: a class counts where it is predicted, or where it has a thousandth of all pixels
    in expectation.
    """
    chosen = np.take_along_axis(sums, _chosen(sums)[..., None, None], axis=-2)[..., 0, :-1]
    counts = chosen.reshape(*chosen.shape[:-1], 3, -1)
    predicted, expected = counts[..., :2, :].sum(axis=-2), counts[..., 0::2, :].sum(axis=-2)  # (..., n)
    counted = (predicted > 0) | (expected >= FEWEST_SHARE * expected.sum(axis=-1, keepdims=True))
    return intervals.miou(np.where(counted[..., None, :], counts, 0))


def _chosen(sums: np.ndarray) -> np.ndarray:
    """Return the index (...) of the temperature of least loss; that of T = 1 where no pixel of a mask was counted."""
    losses = sums[..., -1]
    return np.where(losses.any(axis=-1), losses.argmin(axis=-1), PLAIN)
