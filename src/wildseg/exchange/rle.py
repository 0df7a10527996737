"""Run lengths of masks: as COCO has them, by columns and compressed, and as CVAT has them, by rows.

A sequence of pixels is a list of counts, the first of pixels that are not set, which may be 0, then of set ones, and so
on. COCO: github.com/cocodataset/cocoapi, PythonAPI/pycocotools/mask.py and common/maskApi.c; CVAT: docs.cvat.ai, XML
annotation format 1.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BITS = 5  # of a count in a letter; a sixth says that more follow
FIRST = 48  # the letter of six zero bits, "0"
MOST_LETTERS = 7  # of a count: 35 bits


def counts_of(flat: np.ndarray) -> np.ndarray:
    """Return the run lengths of (n,) bool pixels, int64."""
    flat = np.asarray(flat, bool)
    bounds = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    counts = np.diff(bounds)
    return np.concatenate([[0], counts]) if flat.size and flat[0] else counts


def pixels_of(counts: Sequence[int] | np.ndarray, number: int) -> np.ndarray:
    """Return (number,) bool pixels.

    Raises:
        ValueError: a negative count, or counts of another number of pixels.
    """
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any():
        raise ValueError("expected counts of pixels that are not negative")
    if (total := sum(lengths.tolist())) != number:  # as whole numbers of any size: these came from a file
        raise ValueError(f"expected run lengths of {number} pixels, found {total}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def to_coco(mask: np.ndarray) -> str:
    """Return (H, W) bool as COCO's compressed counts, of columns one after the other."""
    counts = counts_of(np.asarray(mask, bool).T.ravel()).tolist()
    # From the third on, a count is stored as the difference from the one before the last.
    values = counts[:3] + [count - earlier for count, earlier in zip(counts[3:], counts[1:], strict=False)]
    return "".join(_letters(value) for value in values)


def _letters(value: int) -> str:
    text = ""
    while True:
        bits, value = value & 31, value >> BITS
        done = value == (-1 if bits & 16 else 0)  # the sign of what is left is that of the last bit
        text += chr(FIRST + bits + (0 if done else 32))
        if done:
            return text


def counts_from_coco(text: str) -> list[int]:
    """Return the counts of COCO's compressed text.

    Raises:
        ValueError: it is cut off, or has another letter.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - FIRST
        if not 0 <= code < 64 or shift >= BITS * MOST_LETTERS:
            raise ValueError("expected compressed counts as COCO has them")
        value |= (code & 31) << shift
        shift += BITS
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the compressed counts are cut off")
    return counts


def from_coco(counts: str | Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """Return (H, W) bool of COCO's counts, compressed or not.

    Raises:
        ValueError: they are malformed, or of another number of pixels.
    """
    height, width = shape
    lengths = counts_from_coco(counts) if isinstance(counts, str) else counts
    return pixels_of(lengths, height * width).reshape(width, height).T
