"""From activation maps to the unary energies of a CRF: full size, background score, sharpness.

The background score is the one CLIP-ES uses (Lin et al., "CLIP is Also an Efficient Segmenter", CVPR 2023):
``bg = (1 - max_c map_c) ** alpha``.
"""

from __future__ import annotations

import cv2
import numpy as np

SMALLEST = 1e-5  # scores are clipped here, so that one wrong zero costs a pixel -log(1e-5) = 11.5 and not infinity


def upsample(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Enlarge maps bilinearly, pixel centres at halves (torch's ``align_corners=False``, without anti-aliasing).

    Args:
        maps: (K, h, w) float in [0, 1] at grid resolution; K may be 0.
        shape: (H, W) in pixels.

    Returns:
        (K, H, W) float32 in [0, 1].
    """
    height, width = shape
    large = np.empty((len(maps), height, width), np.float32)
    for target, grid in zip(large, maps, strict=True):
        cv2.resize(np.ascontiguousarray(grid, np.float32), (width, height), target, interpolation=cv2.INTER_LINEAR)
    return np.clip(large, 0, 1, out=large)


def background_score(maps: np.ndarray, alpha: float) -> np.ndarray:
    """Return (H, W) scores of the background, ``(1 - max_c map_c) ** alpha``; larger alpha, less background.

    A pixel with the largest map value m is background unless ``m > (1 - m) ** alpha``: m > 0.5 for alpha 1,
    m > 0.382 for alpha 2. Without any map everything is background.

    Args:
        maps: (K, H, W) float in [0, 1].
        alpha: exponent, above 0.
    """
    return (1 - maps.max(axis=0, initial=0)) ** alpha


def with_background(maps: np.ndarray, alpha: float) -> np.ndarray:
    """Put the background score first: (K, H, W) maps in [0, 1] become (K + 1, H, W) scores in [0, 1]."""
    return np.concatenate([background_score(maps, alpha)[None], maps])


def energies(scores: np.ndarray, sharpen: float) -> np.ndarray:
    """Return unary energies ``U = -log clip(scores ** sharpen, 1e-5, 1)``, what a mean field adds its messages to.

    The scores of a pixel need not sum to 1: a mean field normalises. `sharpen` applies to every score, that of the
    background too, so it weighs the maps against the neighbourhood and never changes which score of a pixel is largest.

    Args:
        scores: (K, H, W) float in [0, 1].
        sharpen: exponent, above 0.

    Returns:
        (K, H, W) float32 in [0, 11.6].
    """
    # Clipping before the power, at the value whose power is the limit, leaves one logarithm and one product.
    unary = np.clip(scores, SMALLEST ** (1 / sharpen), 1, dtype=np.float32)
    np.log(unary, out=unary)
    unary *= -sharpen
    return unary
