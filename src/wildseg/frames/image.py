"""Pixels as arrays: the grey of Rec.601, shrinking, what is transparent, and the eight ways a camera may be held."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Orientation(NamedTuple):
    """How stored pixels become upright ones: first swap the axes, then mirror the result along x, along y."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Return (H, W, ...) upright pixels from stored ones, contiguous in memory."""
        if self.transpose:
            pixels = np.swapaxes(pixels, 0, 1)  # (H, W, ...) -> (W, H, ...)
        if self.flip_x:
            pixels = pixels[:, ::-1]
        if self.flip_y:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)

    def stored(self, upright: np.ndarray) -> np.ndarray:
        """Return a view of (H, W, ...) upright pixels in the order of the stored ones: `apply` the other way round."""
        if self.flip_y:
            upright = upright[::-1]
        if self.flip_x:
            upright = upright[:, ::-1]
        return np.swapaxes(upright, 0, 1) if self.transpose else upright


UPRIGHT = Orientation()

# By the value of the EXIF tag Orientation, 1 to 8 (CIPA DC-008, "Orientation").
EXIF_ORIENTATIONS = {
    1: UPRIGHT,
    2: Orientation(flip_x=True),
    3: Orientation(flip_x=True, flip_y=True),
    4: Orientation(flip_y=True),
    5: Orientation(transpose=True),
    6: Orientation(transpose=True, flip_x=True),
    7: Orientation(transpose=True, flip_x=True, flip_y=True),
    8: Orientation(transpose=True, flip_y=True),
}


def grey(image: np.ndarray) -> np.ndarray:
    """Return 0.299 R + 0.587 G + 0.114 B, rounded (ITU-R BT.601): (H, W, 3) uint8 RGB -> (H, W) uint8."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def composite_on_black(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return what shows of a picture that is partly transparent: black behind it, as an empty border usually is.

    This is the one rule for transparency, of photos and of videos: a colour that is hidden never shows.

    Args:
        image: (H, W, 3) uint8 RGB, not multiplied by alpha yet.
        alpha: (H, W) uint8, 0 transparent to 255 opaque.
    """
    return ((image.astype(np.uint16) * alpha[..., None] + 127) // 255).astype(np.uint8)  # 255 * 255 fits 16 bits


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return (height, width[, 3]) uint8; each pixel is the mean of the area it covers, so shrinking does not alias."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def mean_difference(earlier: np.ndarray, later: np.ndarray) -> float:
    """Return the mean of |earlier - later| over pixels, 0 to 255; both (H, W) uint8.

    A later picture of another size is brought to the size of the earlier one.
    """
    height, width = earlier.shape
    return cv2.norm(earlier, resize(later, width, height), cv2.NORM_L1) / earlier.size


def size_for_width(width: int, height: int, limit: int | None) -> tuple[int, int]:
    """Return the (width, height) of the same shape whose width is at most `limit`; None sets no limit."""
    if limit is None or width <= limit:
        return width, height
    return limit, max(1, round(height * limit / width))


def shrink(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """Return the image with its longer side at most `max_side` pixels; None and smaller images change nothing."""
    height, width = image.shape[:2]
    if max_side is None or max(width, height) <= max_side:
        return image
    factor = max_side / max(width, height)
    return resize(image, max(1, round(width * factor)), max(1, round(height * factor)))
