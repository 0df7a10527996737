"""The views of a frame that an image-text model classifies: the whole frame, and overlapping tiles.

The whole frame alone misses small objects; the score of a class is its maximum over views.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from wildseg.encoders.clip import resize

Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom, in [0, 1] of width and height

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def tile_boxes(tiles: int) -> list[Box]:
    """Return the views for `tiles` per side: the whole frame, then tiles of 1/tiles its sides at half-tile steps.

    1 gives the whole frame alone, 2 gives it and 3 x 3 tiles of half its sides.
    """
    if tiles == 1:
        return [WHOLE]
    side = 1 / tiles
    starts = [step * side / 2 for step in range(2 * tiles - 1)]
    return [WHOLE] + [(left, top, left + side, top + side) for top in starts for left in starts]


def box_inside(inner: Box, outer: Box) -> Box:
    """Return a box that is given in parts of `outer`, in parts of the frame; in `WHOLE` it is the very same."""
    if outer == WHOLE:
        return inner
    left, top, right, bottom = outer
    wide, high = right - left, bottom - top
    return left + inner[0] * wide, top + inner[1] * high, left + inner[2] * wide, top + inner[3] * high


def cells_in_box(box: Box, grid: tuple[int, int]) -> np.ndarray:
    """Return which cells of a grid (h, w) lie in a box, row by row: (h*w,) bool, at least one of them true."""
    inside = np.zeros(grid, bool)
    inside[_span(box[1], box[3], grid[0]), _span(box[0], box[2], grid[1])] = True
    return inside.reshape(-1)


def _span(low: float, high: float, cells: int) -> slice:
    first = min(round(low * cells), cells - 1)
    return slice(first, max(round(high * cells), first + 1))


def crop_view(image: np.ndarray, box: Box, size: tuple[int, int], how: str, fill: Sequence[float]) -> np.ndarray:
    """Return one view of an image at the model's input size: (H', W', 3) uint8.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: the part to crop.
        size: (H', W').
        how: ``squash`` ignores the aspect ratio; ``crop`` preserves it and cuts the longer side, as CLIP's own
            preprocessing does; ``pad`` preserves it and the whole box, padded with `fill`.
        fill: RGB in [0, 1].
    """
    height, width = image.shape[:2]
    area = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    if how == "squash":
        return image if box == WHOLE and (height, width) == size else resize(image, size, area)
    ratios = size[0] / (area[3] - area[1]), size[1] / (area[2] - area[0])
    scale = max(ratios) if how == "crop" else min(ratios)
    # A crop is cut to whole pixels as torchvision does, so that it is the one CLIP was trained on.
    whole = math.floor if how == "crop" else round
    inner = [max(1, int(whole(side * scale + 1e-6))) for side in (area[3] - area[1], area[2] - area[0])]
    return _centre(resize(image, (inner[0], inner[1]), area), size, fill)


def _centre(image: np.ndarray, size: tuple[int, int], fill: Sequence[float]) -> np.ndarray:
    """Crop or fill up around the centre: (H, W, 3) to (H', W', 3) uint8."""
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = np.round(np.asarray(fill) * 255).astype(np.uint8)
    offsets = [round((have - want) / 2) for have, want in zip(image.shape, size, strict=False)]
    source = tuple(slice(max(0, o), max(0, o) + want) for o, want in zip(offsets, size, strict=True))
    target = tuple(slice(max(0, -o), max(0, -o) + have) for o, have in zip(offsets, image.shape, strict=False))
    canvas[target] = image[source]
    return canvas
