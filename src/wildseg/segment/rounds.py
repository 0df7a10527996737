"""Rounds of self-training: the confident predictions of one round's model are the masks of the next.

Predictions replace masks as a whole, as in self-training from Yarowsky (1995) to ST++ (Yang et al. 2022,
arXiv:2106.05095): a pixel where the model is in doubt becomes 255, and its former label is dropped, which is where the
errors of pseudo masks lie (Zou et al. 2018, arXiv:1810.07911, equation 4). Each round trains from the first weights
again, so that it does not inherit what it has fitted to errors (Xie et al. 2020, arXiv:1911.04252).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from wildseg.core.classes import IGNORE
from wildseg.segment.predict import Predictor


def confident_mask(probabilities: np.ndarray, ids: Sequence[int], min_confidence: float) -> np.ndarray:
    """Return the most probable id of each pixel among those that its frame can show, where it is probable enough.

    Probabilities are not renormalised over these ids: where the model sees a class that the image labels exclude, no
    other is probable, and the pixel is left open.

    Args:
        probabilities: (C + 1, H, W), the sum over ids 1.
        ids: of the classes in the frame's image labels, and of background where there is such.
        min_confidence: in [0, 1].

    Returns:
        (H, W) uint8, 255 where the probability is below `min_confidence`, and everywhere without `ids`.
    """
    if not ids:
        return np.full(probabilities.shape[1:], IGNORE, np.uint8)
    allowed = probabilities[list(ids)]  # (k, H, W)
    best = np.array(ids, np.uint8)[allowed.argmax(0)]
    return np.where(allowed.max(0) >= min_confidence, best, np.uint8(IGNORE))


def relabel(
    predictor: Predictor,
    frames: Iterable[str],
    load_image: Callable[[str], np.ndarray],
    ids: Callable[[str], Sequence[int]],
    min_confidence: float,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each frame with its `confident_mask`.

    Args:
        predictor: the model of the round before.
        frames: names of training frames.
        load_image: from a name to an image (H, W, 3) uint8 RGB.
        ids: from a name to the ids that the frame can show.
        min_confidence: in [0, 1].
    """
    for frame in frames:
        probabilities = predictor.probabilities(load_image(frame)[None])[0]
        yield frame, confident_mask(probabilities.cpu().numpy(), ids(frame), min_confidence)
