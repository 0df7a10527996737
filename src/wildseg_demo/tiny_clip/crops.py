"""Random crops of frames, disturbed the way that video and cameras disturb what a model will later see."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wildseg_demo.tiny_clip.dataset import GRID_COLUMNS, GRID_ROWS, PATCH, Frames
from wildseg_demo.tiny_clip.regions import Regions, cell_coverage, draw_regions
from wildseg_demo.world.world import HEIGHT, WIDTH

_ZOOMED = 0.6  # share of frames that are zoomed into; label tiles show the model enlarged quarters of a frame
_SMALLEST_WINDOW = 0.45
_RECOMPRESSED = 0.6  # share of crops that lose detail to JPEG, whose blocks resemble those of video


class Crop(NamedTuple):
    """One training crop.

    Attributes:
        image: (h * PATCH, w * PATCH, 3) uint8 RGB.
        corner: (row, column) of its first cell on the model's full grid.
        regions: boxes in it and what they show.
    """

    image: NDArray[np.uint8]
    corner: tuple[int, int]
    regions: Regions


def draw_crop(frames: Frames, shape: tuple[int, int], boxes: int, rng: np.random.Generator) -> Crop:
    """Draw a frame, zoom, cut `shape` grid cells out of it, flip, disturb, and draw boxes."""
    index = int(rng.integers(len(frames)))
    image, mask = _zoom(frames.images[index], frames.masks[index], rng)
    row, column = int(rng.integers(GRID_ROWS - shape[0] + 1)), int(rng.integers(GRID_COLUMNS - shape[1] + 1))
    rows = slice(row * PATCH, (row + shape[0]) * PATCH)
    columns = slice(column * PATCH, (column + shape[1]) * PATCH)
    image, mask = image[rows, columns], mask[rows, columns]
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    return Crop(_disturb(image, rng), (row, column), draw_regions(cell_coverage(mask), boxes, rng))


def _zoom(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if rng.random() >= _ZOOMED:
        return image, mask
    share = rng.uniform(_SMALLEST_WINDOW, 1)
    height, width = int(HEIGHT * share), int(WIDTH * share)
    top, left = int(rng.integers(HEIGHT - height + 1)), int(rng.integers(WIDTH - width + 1))
    window = slice(top, top + height), slice(left, left + width)
    return (
        cv2.resize(image[window], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR),
        cv2.resize(mask[window], (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST),
    )


def _disturb(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Brightness by up to 20 %, white balance by up to 6 %, compression."""
    gain = (rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, 3)).astype(np.float32)
    lit = np.clip(image * gain, 0, 255).astype(np.uint8)
    if rng.random() < _RECOMPRESSED:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))]
        lit = cv2.imdecode(cv2.imencode(".jpg", lit, quality)[1], cv2.IMREAD_COLOR)
    return lit
