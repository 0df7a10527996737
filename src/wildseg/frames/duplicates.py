"""Perceptual hashes of 64 bits, and the filter that drops near-duplicate frames.

A hash encodes where a picture is brighter than elsewhere. Flat pictures (walls, skies, nights) share one hash whatever
their colour, so that these are compared by their colours as well.

aHash compares with the mean, dHash neighbours, pHash the low frequencies of a cosine transform (N. Krawetz,
"Looks Like It", 2011; the conventions are those of the `imagehash` package). Bit i of a hash is bit ``63 - i`` of its
number, rows first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from wildseg.frames.image import grey

SIDE = 8  # a hash is SIDE x SIDE bits
FINE = 4 * SIDE  # the picture that pHash transforms is FINE x FINE
CELLS = 4  # colours are compared by the means of CELLS x CELLS parts of the picture

# A picture is flat whose 32x32 grey deviates from its mean by less than this, in levels; of photographs, those that
# thick fog leaves nothing of. Flat is also one whose frequencies are mostly exactly zero, which an even ramp or stripes
# have: half the bits of any other are set, since half of its frequencies lie above their median.
FLAT_LEVELS = 8.0
FLAT_BITS = 24
SAME_LEVELS = 2  # colours that differ by no more are the same; compression moves them by as much


def ahash(image: np.ndarray) -> int:
    """Return a hash whose bits say where the 8x8 picture is brighter than its mean; image: (H, W, 3) uint8 RGB."""
    small = _small(image, SIDE, SIDE)
    return _pack(small > small.mean())


def dhash(image: np.ndarray) -> int:
    """Return a hash whose bits say where the 9x8 picture gets brighter to the right; image: (H, W, 3) uint8 RGB."""
    small = _small(image, SIDE + 1, SIDE)
    return _pack(small[:, 1:] > small[:, :-1])


def phash(image: np.ndarray) -> int:
    """Return a hash whose bits say which of the 8x8 lowest frequencies lie above their median; (H, W, 3) uint8 RGB.

    The frequencies are those of the type-II cosine transform of the 32x32 picture, the constant one included.
    """
    return _phash(_small(image, FINE, FINE))


def _phash(small: np.ndarray) -> int:
    low = COSINES @ small @ COSINES.T  # (32, 32) -> (8, 8)
    # A flat picture has frequencies of exactly zero, which rounding must not lift above their median of zero.
    return _pack(low > np.median(low) + 1e-9 * np.abs(low).max())


def distance(first: int, second: int) -> int:
    """Return the Hamming distance of two hashes, 0 to 64 bits."""
    return (first ^ second).bit_count()


@dataclass(frozen=True)
class ImageSignature:
    """The features by which two pictures are compared.

    `hash` is the perceptual one; `colours` the mean RGB of 4x4 parts, rows first, 48 bytes; `flat`: the hash alone
    does not discriminate.
    """

    hash: int
    flat: bool
    colours: bytes

    def record(self) -> list[Any]:
        """Return it as JSON can hold it."""
        return [self.hash, self.flat, self.colours.hex()]

    @classmethod
    def from_record(cls, record: Any) -> ImageSignature | None:  # noqa: ANN401
        """Return what `record` gave; None for anything else."""
        try:
            value, flat, colours = record
            found = cls(value, flat, bytes.fromhex(colours))
        except (TypeError, ValueError):
            return None
        fits = type(value) is int and 0 <= value < 2**64 and type(flat) is bool and len(found.colours) == 3 * CELLS**2
        return found if fits else None


def signature_of(image: np.ndarray) -> ImageSignature:
    """Return the signature of a picture; image: (H, W, 3) uint8 RGB."""
    small = _small(image, FINE, FINE)
    value = _phash(small)
    colours = cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return ImageSignature(value, bool(small.std() < FLAT_LEVELS or value.bit_count() < FLAT_BITS), colours.tobytes())


class DuplicateFilter:
    """The signatures of all key frames so far; a new one is compared with all at once."""

    def __init__(self) -> None:
        """Start empty."""
        self._hashes = np.zeros(256, np.uint64)
        self._flat = np.zeros(256, bool)
        self._colours = np.zeros((256, 3 * CELLS**2), np.int16)
        self._count = 0

    def add_if_new(self, signature: ImageSignature, bits: int) -> bool:
        """Add a frame and return True, unless it duplicates an earlier one.

        That is one whose hash is within `bits` and, if either is flat, whose colours are the same.
        """
        colours = np.frombuffer(signature.colours, np.uint8).astype(np.int16)
        near = np.flatnonzero(np.bitwise_count(self._hashes[: self._count] ^ np.uint64(signature.hash)) <= bits)
        informative = ~(self._flat[near] | signature.flat)
        if np.any(informative | (np.abs(self._colours[near] - colours).max(axis=1) <= SAME_LEVELS)):
            return False
        if self._count == len(self._hashes):
            for name in ("_hashes", "_flat", "_colours"):
                setattr(self, name, np.concatenate([getattr(self, name), np.zeros_like(getattr(self, name))]))
        self._hashes[self._count], self._flat[self._count] = signature.hash, signature.flat
        self._colours[self._count] = colours
        self._count += 1
        return True


def _small(image: np.ndarray, width: int, height: int) -> np.ndarray:
    small = Image.fromarray(grey(image)).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float64)  # (height, width) in 0..255


def _pack(bits: np.ndarray) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _cosines() -> np.ndarray:
    """Return the first SIDE rows of the unnormalised DCT-II of length FINE: (SIDE, FINE)."""
    frequency, position = np.arange(SIDE)[:, None], np.arange(FINE)[None]
    return 2 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * FINE))


COSINES = _cosines()
