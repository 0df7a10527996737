"""The shape of a frame as it is shown: square pixels, and turned upright."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from wildseg.frames.image import UPRIGHT, Orientation
from wildseg.frames.read_stats import MAX_PIXELS

SQUARE = Fraction(1)
MAX_RATIO = 4  # the pixels of no camera are further from square; such a ratio is a mistake of the file's writer
# Ratios as near to square as this come from rounding, and are not worth a resampled picture.
SQUARE_TOLERANCE = Fraction(1, 100)


class PixelShape:
    """The width of a video's pixels by their height, which may change within it."""

    def __init__(self, stream: av.VideoStream, context: av.VideoCodecContext) -> None:
        """Remember who tells; called before the first frame is decoded.

        Args:
            stream: says what the container says, and else what the coded stream says at its start.
            context: the stream's decoder, which says what the coded stream says at its start.
        """
        declared = stream.sample_aspect_ratio
        self._by_container = declared if declared and declared != context.sample_aspect_ratio else None

    def of(self, coded: Fraction | None) -> Fraction | None:
        """Return the ratio for a frame of which the coded stream says `coded`, None where nothing says it."""
        return self._by_container or coded


def stretch(declared: Fraction | None, width: int, height: int) -> Fraction:
    """Return by how much the pixels of a frame of this size are wider than high; 1 where it cannot be as `declared`."""
    if declared is None or not is_possible(declared) or abs(declared - 1) <= SQUARE_TOLERANCE:
        return SQUARE
    return declared if max(declared, 1 / declared) * width * height <= MAX_PIXELS else SQUARE


def is_possible(declared: Fraction) -> bool:
    """Say whether pixels may have this width by height."""
    return Fraction(1, MAX_RATIO) <= declared <= MAX_RATIO


def square_size(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """Return (width, height) in square pixels: the narrower direction is enlarged, so that no pixel is lost."""
    if ratio > 1:
        return round(width * ratio), height
    return width, round(height / ratio)


def display_orientation(frame: av.VideoFrame) -> Orientation:
    """Return how the frame's display matrix turns it; angles between the quarter turns go to the nearest.

    FFmpeg's matrix maps a stored step along x to the displayed step (m0, m1), and one along y to (m3, m4).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    x_to_x, x_to_y, _, y_to_x, y_to_y = np.frombuffer(bytes(data), np.int32)[:5]
    if abs(int(x_to_x)) >= abs(int(x_to_y)):
        return Orientation(transpose=False, flip_x=bool(x_to_x < 0), flip_y=bool(y_to_y < 0))
    return Orientation(transpose=True, flip_x=bool(y_to_x < 0), flip_y=bool(x_to_y < 0))
