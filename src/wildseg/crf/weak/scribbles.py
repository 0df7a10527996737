"""Scribbles: a line along the medial axis of each region of high evidence."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from wildseg.core.classes import BACKGROUND, IGNORE
from wildseg.crf.weak.paths import longest_paths
from wildseg.crf.weak.skeleton import skeleton

BRANCH = 0.05  # branches of a skeleton shorter than this are pruned, in diagonals of the frame
PEN = 3  # width of a line in pixels


def cores(maps: np.ndarray, above: float) -> np.ndarray:
    """Return where each map (K, H, W) is above a value and the largest: (K, H, W) bool; of equal maps, the first."""
    winner = maps.argmax(0) if len(maps) else np.zeros(maps.shape[1:], int)
    return (maps > above) & (winner == np.arange(len(maps))[:, None, None])


def line(core: np.ndarray) -> np.ndarray:
    """Return the line of each component of a core (H, W) bool, one pixel wide and inside the core: (H, W) bool."""
    return longest_paths(skeleton(core), BRANCH * float(np.hypot(*core.shape)))


def scribbles(maps: np.ndarray, ids: Sequence[int], above: float, below: float | None, pen: int = PEN) -> np.ndarray:
    """Return ids (H, W) uint8: lines of classes and of background, 255 elsewhere.

    Lines are `pen` pixels wide within their region: the evidence of pixels beyond it is low. A pixel of two lines,
    possible only where `below` exceeds `above`, is 255.

    Args:
        maps: (K, H, W) in [0, 1]; K may be 0.
        ids: of the K classes, in label images.
        above: lines of a class lie where its map is above this, and the largest.
        below: lines of background lie where all maps are below this; None for no background.
        pen: width in pixels, odd.
    """
    wanted = list(zip(ids, cores(maps, above), strict=True))
    if below is not None:
        wanted.append((BACKGROUND, maps.max(0, initial=0) < below))
    drawn = np.full(maps.shape[1:], IGNORE, np.uint8)
    times = np.zeros(maps.shape[1:], np.uint8)
    for value, core in wanted:
        thick = thicken(line(core), pen) & core
        drawn[thick] = value
        times += thick
    drawn[times > 1] = IGNORE
    return drawn


def thicken(mask: np.ndarray, pen: int = PEN) -> np.ndarray:
    """Return a mask (H, W) bool with each pixel grown to a square of `pen` pixels, odd."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((pen, pen), np.uint8)).astype(bool)


def dots(points: np.ndarray, shape: tuple[int, int], pen: int = PEN) -> np.ndarray:
    """Return ids (H, W) uint8 with a square of `pen` pixels at each point, 255 elsewhere and at overlaps of two ids.

    Args:
        points: (m, 3) int: x, y, id.
        shape: (H, W).
        pen: side of a square in pixels, odd.
    """
    drawn = np.full(shape, IGNORE, np.uint8)
    times = np.zeros(shape, np.uint8)
    for value in np.unique(points[:, 2]):
        mask = np.zeros(shape, bool)
        x, y, _ = points[points[:, 2] == value].T
        mask[y, x] = True
        thick = thicken(mask, pen)
        drawn[thick] = value
        times += thick
    drawn[times > 1] = IGNORE
    return drawn
