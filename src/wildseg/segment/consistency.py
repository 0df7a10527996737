"""The views of one image that a model should answer alike: as it is, mirrored, and at another scale.

Augmentation invariance at test time; the agreement of the views needs no truth. Each view passes the network alone,
without the averaging over scales and flips that `eval` may be set to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from wildseg.segment.params import Eval
    from wildseg.segment.predict import Predictor

SCALE = 0.75  # of the second scale: what stands a third farther away


class Views(NamedTuple):
    """Probabilities as eval predicts (n, H, W) float32, and ids (H, W) uint8 of the views, turned back."""

    probabilities: np.ndarray
    plain: np.ndarray
    mirrored: np.ndarray
    scaled: np.ndarray


def views_of(predictor: Predictor, image: np.ndarray, params: Eval) -> Views:
    """Predict the views of an image (H, W, 3) uint8 RGB."""
    probabilities = predictor.probabilities(image[None], params.scales, params.flip)[0].cpu().numpy()
    averaged = params.flip or tuple(params.scales) != (1.0,)
    return Views(
        probabilities=probabilities,
        plain=_ids(predictor, image) if averaged else probabilities.argmax(axis=0).astype(np.uint8),
        mirrored=_ids(predictor, image[:, ::-1])[:, ::-1],
        scaled=_ids(predictor, image, SCALE),
    )


def _ids(predictor: Predictor, image: np.ndarray, scale: float = 1.0) -> np.ndarray:
    ids: np.ndarray = predictor.probabilities(image[None], (scale,))[0].argmax(0).cpu().numpy().astype(np.uint8)
    return ids
