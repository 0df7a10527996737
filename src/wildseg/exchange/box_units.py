"""Checks that boxes are COCO's x, y, width and height in pixels, not normalised boxes, corners or percentages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wildseg.core.errors import DataError

Size = tuple[int, int]
MIN_BOXES = 3  # fewer boxes may lie within 100 pixels by chance
SLACK = 0.02  # share of a side by which a box drawn by hand may exceed its image


def plausibility_warnings(path: Path, boxes: Mapping[str, tuple[Size, np.ndarray]]) -> list[str]:
    """Return a line per suspected mistake in the units of boxes.

    Args:
        path: the file, for the error line.
        boxes: by frame (width, height), and (m, 4) x0, y0, x1, y1 as COCO's x, y, x + width, y + height.

    Raises:
        DataError: all boxes of an image are normalised, or all boxes of the file are corners.
    """
    frames = [frame for frame, (_, own) in boxes.items() for _ in own]
    if not frames:
        return []
    sizes = np.array([size for size, own in boxes.values() for _ in own], float)  # (n, 2) width, height
    corners = np.concatenate([own for _, own in boxes.values()])
    written = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)  # (n, 4) as in the file
    solid: np.ndarray = np.all(written[:, 2:] > 0, axis=1)
    _check_normalised(path, frames, sizes, written, solid)
    beyond: np.ndarray = np.any(corners[:, 2:] > sizes + _slack(sizes), axis=1)
    if beyond.any():
        _check_corners(path, frames, sizes, written, beyond, solid)
        return [f"{_describe(frames, sizes, written, beyond)}; is their size that of another image?"]
    hundred = (corners[:, 2:] <= 100.5).all() and (sizes.min() >= 200) and solid.sum() >= MIN_BOXES
    if hundred and (corners[:, 2:].max(0) > 50).all():
        return [f"all {len(frames)} boxes lie within the first 100 x 100 pixels; are they percentages of the image?"]
    return []


def _slack(sizes: np.ndarray) -> np.ndarray:
    return np.maximum(2.0, SLACK * sizes)


def _check_normalised(path: Path, frames: list[str], sizes: np.ndarray, written: np.ndarray, solid: np.ndarray) -> None:
    small = solid & (written >= -1e-3).all(1) & (written <= 1 + 1e-3).all(1) & (sizes > 1).all(1)
    if not small.any():
        return
    fractions = small & (written != np.round(written)).any(1)
    _, image = np.unique(frames, return_inverse=True)
    all_small = np.bincount(image, solid & ~small) == 0  # by image: none of its boxes is in pixels
    whole = (all_small & (np.bincount(image, fractions) > 0))[image] & small
    if not whole.any() and not small[solid].all():
        return  # a tiny box among boxes in pixels
    index = int(np.flatnonzero(whole if whole.any() else small)[0])
    raise DataError(
        f"{path}: expected boxes in pixels, found normalised boxes in {int(small.sum())} of {len(frames)} boxes, "
        f"for instance {_numbers(written[index])} in {frames[index]!r} of {_size(sizes[index])}; multiply by its width "
        "and height"
    )


def _check_corners(
    path: Path, frames: list[str], sizes: np.ndarray, written: np.ndarray, beyond: np.ndarray, solid: np.ndarray
) -> None:
    """Raise if boxes exceed their images as x, y, width, height, and all lie inside them as x0, y0, x1, y1."""
    first, second = written[solid, :2], written[solid, 2:]
    if (second > first).all() and (second <= sizes[solid] + _slack(sizes[solid])).all():
        raise DataError(
            f"{path}: expected boxes as x, y, width and height, found what seem to be x0, y0, x1, y1: "
            f"{_describe(frames, sizes, written, beyond)}; subtract x0 and y0 from the latter two"
        )


def _describe(frames: list[str], sizes: np.ndarray, written: np.ndarray, beyond: np.ndarray) -> str:
    index = int(np.flatnonzero(beyond)[0])
    return (
        f"{int(beyond.sum())} of {len(frames)} boxes exceed their image, for instance "
        f"{_numbers(written[index])} in {frames[index]!r} of {_size(sizes[index])}"
    )


def _numbers(box: np.ndarray) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in box)}]"


def _size(size: np.ndarray) -> str:
    return f"{size[0]:.0f}x{size[1]:.0f}"
