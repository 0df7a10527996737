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
    return _centre(resize(image, _inner((area[3] - area[1], area[2] - area[0]), size, how), area), size, fill)


def box_in_view(box: Box, shape: tuple[int, int], size: tuple[int, int], how: str) -> Box:
    """Return where a box of a frame lies in the view of the whole frame that `crop_view` makes, which is all of it.

    Args:
        box: of the frame.
        shape: (H, W) of the frame.
        size: (H', W') of the view.
        how: ``squash`` or ``pad``. What ``crop`` cuts off has no place in its view.
    """
    if how == "squash" or box == WHOLE:
        return box
    inner = _inner(shape, size, how)
    margins = [(want - have) / 2 / want for have, want in zip(inner, size, strict=True)]
    shares = [have / want for have, want in zip(inner, size, strict=True)]
    left, right = (margins[1] + shares[1] * side for side in (box[0], box[2]))
    top, bottom = (margins[0] + shares[0] * side for side in (box[1], box[3]))
    return left, top, right, bottom


def _inner(sides: Sequence[float], size: tuple[int, int], how: str) -> tuple[int, int]:
    """Return the size that (h, w) has in a view of another aspect ratio, before it is cut or padded."""
    ratios = [want / side for side, want in zip(sides, size, strict=True)]
    scale = max(ratios) if how == "crop" else min(ratios)
    # A crop is cut to whole pixels as torchvision does, so that it is the one CLIP was trained on.
    whole = math.floor if how == "crop" else round
    height, width = (max(1, int(whole(side * scale + 1e-6))) for side in sides)
    return height, width


def _centre(image: np.ndarray, size: tuple[int, int], fill: Sequence[float]) -> np.ndarray:
    """Crop or fill up around the centre: (H, W, 3) to (H', W', 3) uint8."""
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = np.round(np.asarray(fill) * 255).astype(np.uint8)
    offsets = [round((have - want) / 2) for have, want in zip(image.shape, size, strict=False)]
    source = tuple(slice(max(0, o), max(0, o) + want) for o, want in zip(offsets, size, strict=True))
    target = tuple(slice(max(0, -o), max(0, -o) + have) for o, have in zip(offsets, image.shape, strict=False))
    canvas[target] = image[source]
    return canvas
