"""From the maps of one frame to its pseudo mask: unary, dense CRF, decision, and ignored pixels of low confidence.

There are two definitions of confidence, as in CLIP-ES: the paper's ``max(1 - max_c map_c, max_c map_c)``
from the maps, and the published code's ``max_c Q_c`` from the CRF's posterior, which ignores far fewer pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wildseg.core.classes import BACKGROUND, IGNORE
from wildseg.core.maps import upsample, with_background
from wildseg.crf.dense import marginals
from wildseg.crf.unary import energies

if TYPE_CHECKING:
    from wildseg.crf.params import Crf


def pseudo_mask(
    image: np.ndarray, classes: np.ndarray, maps: np.ndarray, crf: Crf, *, background: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pseudo mask of a frame and its confidence.

    A frame without any class is background with confidence 1 where there is a background, and undecided
    (255, confidence 0) where every pixel should belong to a class. One class without background takes every pixel.

    Args:
        image: (H, W, 3) uint8 RGB.
        classes: (K,) indices from 0 of the classes in the frame; K may be 0.
        maps: (K, h, w) float in [0, 1] at grid resolution.
        crf: the parameters.
        background: whether a pixel may belong to no class.

    Returns:
        mask (H, W) uint8, 0 background, class index + 1, 255 ignore; confidence (H, W) float32 in [0, 1].

    Raises:
        ParamsError: a kernel of the CRF is too narrow for a frame of this size.
    """
    large = upsample(maps, image.shape[:2])  # (K, H, W)
    scores = with_background(large, crf.alpha) if background else large  # (K or K + 1, H, W)
    ids = np.concatenate([np.full(int(background), BACKGROUND), classes + 1]).astype(np.uint8)
    if not len(ids):
        return np.full(image.shape[:2], IGNORE, np.uint8), np.zeros(image.shape[:2], np.float32)
    posterior = marginals(energies(scores, crf.sharpen), image, crf)
    if crf.confidence_from == "posterior":
        confidence = posterior.max(axis=0)
    elif crf.confidence_from == "maps":
        confidence = confidence_of_maps(large, background)
    else:
        raise ValueError(f"confidence_from: expected 'posterior' or 'maps', found {crf.confidence_from!r}")
    return decide(posterior, ids, confidence, crf.min_confidence), confidence


def decide(marginals: np.ndarray, ids: np.ndarray, confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Return the id of each pixel's largest marginal, 255 where its confidence is below `threshold`.

    Args:
        marginals: (K, H, W) float; of equal values the first wins, so background does.
        ids: (K,) uint8, the id of each marginal.
        confidence: (H, W) float in [0, 1].
        threshold: in [0, 1]; 0 ignores nothing.

    Returns:
        (H, W) uint8.
    """
    mask = ids[_first_largest(marginals)]
    mask[confidence < threshold] = IGNORE
    return mask


def _first_largest(values: np.ndarray) -> np.ndarray:
    """Return ``values.argmax(axis=0)``, (H, W) uint8, of (K, H, W) numbers, K at most 255; many times faster."""
    count, largest = len(values), values.max(axis=0)
    # Of the classes that reach a pixel's maximum, the first has the highest place counted from the last: 1 to K.
    places = np.zeros(largest.shape, np.uint8)
    for index, of_class in enumerate(values):
        np.maximum(places, (of_class == largest) * np.uint8(count - index), out=places)
    return np.uint8(count) - places


def confidence_of_maps(maps: np.ndarray, background: bool) -> np.ndarray:
    """Return (H, W) float32 ``max(1 - max_c map_c, max_c map_c)``, between 0.5 and 1.

    Without a background, low maps are evidence for no class: there the confidence is ``max_c map_c`` alone.

    Args:
        maps: (K, H, W) float in [0, 1], at full size and not sharpened.
        background: whether a pixel may belong to no class.
    """
    strongest = maps.max(axis=0, initial=0)
    return np.maximum(1 - strongest, strongest) if background else strongest
