"""Pictures of one frame for the page of frames: the photo, and sheets on which masks or maps lie below each other.

A browser shows one part of a sheet by moving it behind a window of the frame's shape, so that a frame costs three files
however many classes it has. The same arrays give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image

from wildseg.core.images import encode_label_image
from wildseg.report.drawing import heat_colours

LONGEST = 480  # longest side of the photo and of masks, in pixels
LONGEST_MAP = 160  # of a map, which is smooth
BLOCK = 16  # sides of a map are multiples of it, so that neighbours on a sheet share no block of the JPEG
PHOTO_QUALITY, MAP_QUALITY = 80, 85


def photo(image: np.ndarray) -> bytes:
    """Return a frame (H, W, 3) uint8 RGB as JPEG, shrunk to `LONGEST`."""
    shown = Image.fromarray(image).resize(_size(image.shape), Image.Resampling.BOX)
    content = io.BytesIO()
    shown.save(content, "JPEG", quality=PHOTO_QUALITY)
    return content.getvalue()


def sheet_of_ids(masks: Sequence[np.ndarray], palette: np.ndarray) -> bytes:
    """Return masks of one frame, (H, W) uint8 ids each, as palette PNG, from top to bottom; shrunk to `LONGEST`.

    The palette is (256, 3) uint8 RGB by id.
    """
    size = _size(masks[0].shape)
    parts = [np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) for mask in masks]
    return encode_label_image(np.concatenate(parts), palette)


def parts_of_sheet(sheet: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the masks of a sheet that `sheet_of_ids` made of a frame of shape (H, W): (h, w) ids each."""
    _, height = _size(shape)
    return [sheet[start : start + height] for start in range(0, sheet.shape[0] - height + 1, height)]


def sheet_of_maps(maps: Sequence[np.ndarray], shape: tuple[int, ...]) -> bytes:
    """Return maps of one frame in colour, from dark to bright, as JPEG, from top to bottom.

    Args:
        maps: (h, w) float in [0, 1] each, of any resolution; at least one.
        shape: (H, W) of the frame.
    """
    width, height = (max(BLOCK, round(side / BLOCK) * BLOCK) for side in _size(shape, LONGEST_MAP))
    bilinear = Image.Resampling.BILINEAR
    large = [Image.fromarray(np.asarray(one, np.float32)).resize((width, height), bilinear) for one in maps]
    sheet = np.concatenate([np.asarray(one) for one in large])
    levels = (np.clip(sheet, 0, 1) * 255).round().astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(_colours()[levels]).save(content, "JPEG", quality=MAP_QUALITY, subsampling=0)
    return content.getvalue()


@cache
def _colours() -> np.ndarray:
    # (256, 3) uint8
    return heat_colours(np.arange(256)[None] / 255)[0].round().astype(np.uint8)


def _size(shape: tuple[int, ...], longest: int = LONGEST) -> tuple[int, int]:
    # (width, height)
    factor = min(1.0, longest / max(shape[0], shape[1]))
    return max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor))
