"""A bank of regions of one's own frames: those that look like a region tell what it is called (VISR of CorrCLIPv2).

A region q that the image-text model sees badly, small, blurred or cut off, is compared with its n nearest regions of
other frames: ``s_q = normalise(mean v_r)`` over the n largest ``k_q . k_r``. The bank is frozen, so that the maps of a
frame depend on the frame and on the bank, and on no other frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from wildseg.cam.regions import Regions

BLOCK = 2**14  # regions of the bank whose keys are there in single precision at a time
DIGITS = 5  # of inner products: the same two vectors may differ in the last bits by where they stand in a product
SMALL = 1e-12


@dataclass(frozen=True)
class Origin:
    """Where a frame comes from: its name, its source, and its time there in seconds; None where a photo has none."""

    frame: str
    source: str
    time_s: float | None


@dataclass(frozen=True)
class Bank:
    """N regions of several frames, sorted by the name of the frame and the number of the region in it.

    keys: (N, C) float16 unit vectors. values: (N, d) float16. areas: (N,) float32 shares of the frame. owners: (N,)
    int32, the index in `frames`. frames: all that were read, also those without a region.
    """

    keys: np.ndarray
    values: np.ndarray
    areas: np.ndarray
    owners: np.ndarray
    frames: tuple[Origin, ...]

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.keys)

    @cached_property
    def ranks(self) -> np.ndarray:
        """The place (N,) of each region by the digest of its vectors, which does not depend on where it stands."""
        digests = [
            sha256(key.tobytes() + value.tobytes()).digest() for key, value in zip(self.keys, self.values, strict=True)
        ]
        ranks = np.empty(len(digests), np.int64)
        ranks[sorted(range(len(digests)), key=digests.__getitem__)] = np.arange(len(digests))
        return ranks

    def elsewhere(self, origin: Origin, gap_s: float) -> np.ndarray:
        """Return which regions (N,) bool are neither of a frame nor of one of its source within `gap_s` seconds."""
        far = np.array([not _near(own, origin, gap_s) for own in self.frames], bool)
        return far[self.owners]


@dataclass(frozen=True)
class Recollection:
    """A frame in front of the bank.

    bank: the bank. regions: of the frame. origin: of the frame. texts: (M, d) unit vectors, classes first, then
    background phrases. present: the K rows of `texts` that are asked about. num_classes: how many rows are classes.
    """

    bank: Bank
    regions: Regions
    origin: Origin
    texts: np.ndarray
    present: Sequence[int]
    num_classes: int


def nearest(queries: np.ndarray, keys: np.ndarray, allowed: np.ndarray, ranks: np.ndarray, number: int) -> np.ndarray:
    """Return for each query the indices (Q, n) of the regions with the largest inner products, the largest first.

    Of equal ones the lower rank comes first. n is `number`, or less where fewer are allowed.

    Args:
        queries: (Q, C).
        keys: (N, C).
        allowed: (N,) bool.
        ranks: (N,), a different number each.
        number: of neighbours.
    """
    few = min(number, int(allowed.sum()))
    queries = queries.astype(np.float32)
    blocks = [queries @ keys[start : start + BLOCK].astype(np.float32).T for start in range(0, len(keys), BLOCK)]
    found = np.zeros((len(queries), few), np.int64)
    if not few:
        return found
    products = np.where(allowed, np.round(np.concatenate(blocks, 1), DIGITS), -np.inf)  # (Q, N)
    for row, own in zip(found, products, strict=True):
        candidates = np.flatnonzero(own >= np.partition(own, -few)[-few])  # more than `few` where some are equal
        row[:] = candidates[np.lexsort((ranks[candidates], -own[candidates]))[:few]]
    return found


def support(values: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Return ``normalise(mean v_r)`` over the neighbours of each query, (Q, d) float64.

    Args:
        values: (N, d).
        neighbours: (Q, n) indices, n > 0.
    """
    mean = values[neighbours].astype(np.float64).mean(1)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), SMALL)


def shares(
    supports: np.ndarray, texts: np.ndarray, present: Sequence[int], num_classes: int, scale: float
) -> np.ndarray:
    """Return how much a support says for each class, (Q, K) in [0, 1]: ``softmax(scale * s . t)``.

    Those that share the softmax are the classes that are present and the background phrases; a class that is alone
    competes with all classes, as in the dense methods.

    Args:
        supports: (Q, d) unit vectors.
        texts: (M, d) unit vectors, classes first.
        present: the K rows of `texts` that are asked about.
        num_classes: how many rows of `texts` are classes.
        scale: on inner products.
    """
    rows = [*present, *range(num_classes, len(texts))]
    rows += [row for row in range(len(texts)) if row not in rows] if len(rows) < 2 else []
    scores = scale * (supports @ texts[rows].T)
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True))[:, : len(present)]


def fuse(own: np.ndarray, others: np.ndarray, share: float) -> np.ndarray:
    """Return ``share * own + (1 - share) * others``, of any shapes that fit."""
    return share * own + (1 - share) * others


def _near(own: Origin, other: Origin, gap_s: float) -> bool:
    if own.frame == other.frame:
        return True
    known = own.time_s is not None and other.time_s is not None
    return known and own.source == other.source and abs(own.time_s - other.time_s) <= gap_s + 1e-9  # type: ignore[operator]
