"""The weak labels of one frame from its activation maps: boxes, points and scribbles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wildseg.core.classes import BACKGROUND
from wildseg.core.maps import upsample
from wildseg.crf.weak import points as weak_points
from wildseg.crf.weak.boxes import boxes
from wildseg.crf.weak.regions import stretch
from wildseg.crf.weak.scribbles import scribbles

if TYPE_CHECKING:
    from wildseg.crf.params import Weak


@dataclass(frozen=True)
class WeakFrame:
    """boxes: rows of x0, y0, x1, y1, id, score. points: (m, 3) int, x, y, id. scribbles: (H, W) uint8 ids, 255 else."""

    boxes: list[list[float]]
    points: np.ndarray
    scribbles: np.ndarray


def weak_labels(
    classes: np.ndarray,
    grid: np.ndarray,
    shape: tuple[int, int],
    weak: Weak,
    rng: np.random.Generator,
    *,
    background: bool,
) -> WeakFrame:
    """Return the weak labels of a frame.

    Args:
        classes: (K,) indices from 0; K may be 0.
        grid: (K, h, w) maps in [0, 1].
        shape: (H, W) of the frame in pixels.
        weak: the parameters.
        rng: of the background points.
        background: whether a pixel may belong to no class.
    """
    maps = stretch(upsample(grid, shape))  # (K, H, W)
    ids = (classes + 1).tolist()
    found = [[*map(int, box[:4]), value, round(box[4], 6)] for value, heat in zip(ids, maps, strict=True)
             for box in boxes(heat, weak.tau, weak.min_area, weak.min_share).tolist()]  # fmt: skip
    lines = scribbles(maps, ids, weak.scribble, weak.background if background else None)
    return WeakFrame(found, _points(maps, ids, weak, rng, background), lines)


def _points(maps: np.ndarray, ids: Sequence[int], weak: Weak, rng: np.random.Generator, background: bool) -> np.ndarray:
    kinds = [
        (value, weak_points.foreground(heat, weak.points, weak.tau, weak.min_area, weak.min_share))
        for value, heat in zip(ids, maps, strict=True)
    ]
    if background:
        kinds.append((BACKGROUND, weak_points.background(maps, weak.points, weak.background, rng)))
    rows = [np.column_stack([places, np.full(len(places), value)]) for value, places in kinds]
    return np.concatenate([np.zeros((0, 3), int), *rows])
