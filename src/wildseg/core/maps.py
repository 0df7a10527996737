"""Activation maps at the size of their frame, the score of the background, and the ids that they decide by themselves.

The background score is the one CLIP-ES uses (Lin et al., "CLIP is Also an Efficient Segmenter", CVPR 2023):
``bg = (1 - max_c map_c) ** alpha``.
"""

from __future__ import annotations

import cv2
import numpy as np

from wildseg.core.classes import BACKGROUND, IGNORE


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


def ids_of_maps(classes: np.ndarray, maps: np.ndarray, shape: tuple[int, ...], background: bool) -> np.ndarray:
    """Return the ids (H, W) uint8 that the maps decide: the largest wins, or the background with 1 - max map.

    A frame without any class is background; without a background to fall back on it is 255, which counts as wrong.

    Args:
        classes: (K,) indices from 0; K may be 0.
        maps: (K, h, w) float in [0, 1] at grid resolution.
        shape: (H, W) in pixels.
        background: whether a pixel may belong to no class.
    """
    large = upsample(maps, (shape[0], shape[1]))  # (K, H, W)
    scores = with_background(large, alpha=1) if background else large  # (K or K + 1, H, W)
    ids = np.concatenate([np.full(int(background), BACKGROUND), classes + 1]).astype(np.uint8)
    return ids[scores.argmax(axis=0)] if len(ids) else np.full(shape, IGNORE, np.uint8)
