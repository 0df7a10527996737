"""Perceptual hashes of 64 bits, and the filter that drops frames which look like one that was already kept.

aHash compares with the mean, dHash neighbours, pHash the low frequencies of a cosine transform (N. Krawetz,
"Looks Like It", 2011; the conventions are those of the `imagehash` package). Bit i of a hash is bit ``63 - i`` of its
number, rows first.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from wildseg.frames.image import grey

SIDE = 8  # a hash is SIDE x SIDE bits
FINE = 4 * SIDE  # the picture that pHash transforms is FINE x FINE


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
    low = COSINES @ _small(image, FINE, FINE) @ COSINES.T  # (32, 32) -> (8, 8)
    # A flat picture has frequencies of exactly zero, which rounding must not lift above their median of zero.
    return _pack(low > np.median(low) + 1e-9 * np.abs(low).max())


def distance(first: int, second: int) -> int:
    """Return the Hamming distance of two hashes, 0 to 64 bits."""
    return (first ^ second).bit_count()


class KeptHashes:
    """The hashes of all frames kept so far, compared with all at once."""

    def __init__(self) -> None:
        """Start with none kept."""
        self._hashes = np.zeros(256, np.uint64)
        self._count = 0

    def add_if_new(self, value: int, bits: int) -> bool:
        """Keep the hash `value` and return True, unless one within `bits` of it was kept before."""
        kept = self._hashes[: self._count]
        if np.any(np.bitwise_count(kept ^ np.uint64(value)) <= bits):
            return False
        if self._count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        self._hashes[self._count] = value
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
