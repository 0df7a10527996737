"""The weak labels of one frame, made from its maps: boxes, points and scribbles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wildseg.core.classes import BACKGROUND
from wildseg.core.maps import upsample
from wildseg.crf.weak import points as weak_points
from wildseg.crf.weak.boxes import boxes
from wildseg.crf.weak.regions import stretch
from wildseg.crf.weak.scribbles import scribbles


@dataclass(frozen=True)
class WeakRule:
    """How weak labels are made.

    tau: a region is where the stretched map is above this. min_area, min_share: shares of the frame, and of the largest
    region of the class, that a region has at least. points: at most so many a class. scribble: the map's value above
    which a scribble runs. background: the largest map value of background points and scribbles; None where every pixel
    belongs to a class.
    """

    tau: float
    min_area: float
    min_share: float
    points: int
    scribble: float
    background: float | None


@dataclass(frozen=True)
class WeakFrame:
    """boxes: rows of x0, y0, x1, y1, id, score. points: (m, 3) int, x, y, id. scribbles: (H, W) uint8 ids, 255 else."""

    boxes: list[list[float]]
    points: np.ndarray
    scribbles: np.ndarray


def weak_labels(
    classes: np.ndarray, grid: np.ndarray, shape: tuple[int, int], rule: WeakRule, rng: np.random.Generator
) -> WeakFrame:
    """Return the weak labels of a frame.

    Args:
        classes: (K,) indices from 0; K may be 0.
        grid: (K, h, w) maps in [0, 1].
        shape: (H, W) of the frame in pixels.
        rule: how they are made.
        rng: what background points are drawn with.
    """
    maps = stretch(upsample(grid, shape))  # (K, H, W)
    ids = (classes + 1).tolist()
    found = [[*map(int, box[:4]), value, round(box[4], 6)] for value, heat in zip(ids, maps, strict=True)
             for box in boxes(heat, rule.tau, rule.min_area, rule.min_share).tolist()]  # fmt: skip
    return WeakFrame(found, _points(maps, ids, rule, rng), scribbles(maps, ids, rule.scribble, rule.background))


def _points(maps: np.ndarray, ids: Sequence[int], rule: WeakRule, rng: np.random.Generator) -> np.ndarray:
    kinds = [
        (value, weak_points.foreground(heat, rule.points, rule.tau, rule.min_area, rule.min_share))
        for value, heat in zip(ids, maps, strict=True)
    ]
    if rule.background is not None:
        kinds.append((BACKGROUND, weak_points.background(maps, rule.points, rule.background, rng)))
    rows = [np.column_stack([places, np.full(len(places), value)]) for value, places in kinds]
    return np.concatenate([np.zeros((0, 3), int), *rows])
