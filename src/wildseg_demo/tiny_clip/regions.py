"""Random boxes on the patch grid, what share of each every surface covers, and what may be said of them.

Boxes are (top, left, bottom, right) in grid cells, bottom and right exclusive.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wildseg_demo.tiny_clip.dataset import CLASSES, PATCH
from wildseg_demo.world.noise import Field
from wildseg_demo.world.surfaces import Surface

# A surface counts as visible in a region above this share of its area; thin things count earlier.
_VISIBLE_FROM = np.full(CLASSES, 0.10, np.float32)
_VISIBLE_FROM[Surface.LANE_LINE - 1] = 0.05
_VISIBLE_FROM[Surface.CURB - 1] = 0.07
_ABSENT_BELOW = 0.01  # between absent and visible nothing is said, for or against
_RARE = [surface - 1 for surface in (Surface.LANE_LINE, Surface.CURB, Surface.WATER, Surface.SOIL)]
_RARE_FAVOUR = 6.0  # how much likelier a box is drawn per rare surface it shows
_SMALLEST_SIDE = 2  # grid cells

Boxes = NDArray[np.int64]


class Regions(NamedTuple):
    """R boxes of one crop: boxes (R, 4) and coverage (R, CLASSES), shares of area in [0, 1]."""

    boxes: Boxes
    coverage: Field


def cell_coverage(mask: NDArray[np.uint8]) -> Field:
    """Share of every patch that each surface covers: (H, W) ids to (H / PATCH, W / PATCH, CLASSES)."""
    rows, columns = mask.shape[0] // PATCH, mask.shape[1] // PATCH
    cell = np.arange(rows)[:, None] * columns + np.arange(columns)
    cell_of_pixel = cell.repeat(PATCH, 0).repeat(PATCH, 1)
    counts = np.bincount((cell_of_pixel * (CLASSES + 1) + mask).ravel(), minlength=rows * columns * (CLASSES + 1))
    return counts.reshape(rows, columns, CLASSES + 1)[..., 1:].astype(np.float32) / PATCH**2


def box_coverage(cells: Field, boxes: Boxes) -> Field:
    """Mean of cells (h, w, CLASSES) over every box (R, 4), by an integral image: (R, CLASSES)."""
    height, width, classes = cells.shape
    integral = np.zeros((height + 1, width + 1, classes))
    integral[1:, 1:] = cells.cumsum(0, dtype=np.float64).cumsum(1)
    top, left, bottom, right = boxes.T
    total = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    return (total / ((bottom - top) * (right - left))[:, None]).astype(np.float32)


def draw_regions(cells: Field, count: int, rng: np.random.Generator) -> Regions:
    """The whole crop and `count - 1` boxes of log-uniform sides; boxes with rare surfaces are favoured."""
    height, width, _ = cells.shape
    candidates = 2 * count
    heights = np.exp(rng.uniform(np.log(_SMALLEST_SIDE), np.log(height + 1), candidates)).astype(np.int64)
    widths = np.exp(rng.uniform(np.log(_SMALLEST_SIDE), np.log(width + 1), candidates)).astype(np.int64)
    heights, widths = np.minimum(heights, height), np.minimum(widths, width)
    tops, lefts = rng.integers(0, height - heights + 1), rng.integers(0, width - widths + 1)
    boxes = np.stack([tops, lefts, tops + heights, lefts + widths], 1)
    weight = 1 + _RARE_FAVOUR * visible(box_coverage(cells, boxes))[:, _RARE].sum(1)
    chosen = rng.choice(candidates, count - 1, replace=False, p=weight / weight.sum())
    boxes = np.concatenate([[[0, 0, height, width]], boxes[chosen]])
    return Regions(boxes, box_coverage(cells, boxes))


def visible(coverage: Field) -> NDArray[np.bool_]:
    """Which surfaces a caption of the region should name; shape of coverage."""
    return coverage > _VISIBLE_FROM


def absent(coverage: Field) -> NDArray[np.bool_]:
    """Which surfaces a caption of the region must not name; shape of coverage."""
    return coverage <= _ABSENT_BELOW


def cell_masks(boxes: Boxes, rows: int, columns: int) -> NDArray[np.bool_]:
    """Which grid cells lie in each box: (..., 4) boxes to (..., rows * columns)."""
    top, left, bottom, right = (boxes[..., side, None, None] for side in range(4))
    row, column = np.arange(rows)[:, None], np.arange(columns)
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    return inside.reshape(*boxes.shape[:-1], rows * columns)
