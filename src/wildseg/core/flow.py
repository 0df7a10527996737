"""Dense optical flow between two frames, and what is warped along it: maps and ids.

Flow is (H, W, 2) float32 in pixels: what one frame shows at column x and row y, the other shows at
``(x + flow[y, x, 0], y + flow[y, x, 1])``. It is that of DIS (Kroeger et al., ECCV 2016) on smoothed grey levels, by
OpenCV. It is consistent where the flow back ends near to where it began, as Sundaram, Brox and Keutzer (ECCV 2010,
section 3) have it: ``|w + w'|^2 < 0.01 (|w|^2 + |w'|^2) + 0.5`` with the flow back w' at the place where w ends. A
pixel that is hidden in the other frame, or outside of it, is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from wildseg.core.classes import IGNORE

SMALLEST = 16  # pixels of a side, below which frames are padded: DIS compares patches of 8x8 at several scales
SMOOTHING = 1.0  # pixels, the deviation of a Gaussian: noise of a sensor is no texture that moves
RELATIVE, ABSOLUTE = 0.01, 0.5  # of the consistency check; the second in pixels squared


class Track(NamedTuple):
    """Where the pixels of a frame are in a later or earlier one: flow (H, W, 2), and consistent (H, W) bool."""

    flow: np.ndarray
    consistent: np.ndarray


def optical_flow(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the flow from one frame to another, (H, W, 2) float32.

    Args:
        one: (H, W, 3) uint8 RGB, or (H, W) uint8 grey.
        other: of the same shape.
    """
    height, width = one.shape[:2]
    pad = ((0, max(0, SMALLEST - height)), (0, max(0, SMALLEST - width)))
    first, second = (np.pad(_grey(image), pad, mode="edge") for image in (one, other))
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = dis.calc(first, second, None)  # type: ignore[call-overload]
    return np.ascontiguousarray(flow[:height, :width], np.float32)


def consistent(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return where flow there and back agree: (H, W) bool, see above.

    Args:
        forward: (H, W, 2) from one frame to the other.
        backward: (H, W, 2) from the other to the one.
    """
    back = np.moveaxis(warp(np.moveaxis(backward, 2, 0), forward), 0, 2)
    error = ((forward + back) ** 2).sum(axis=2)
    lengths = (forward**2).sum(axis=2) + (back**2).sum(axis=2)
    return inside(forward) & (error < RELATIVE * lengths + ABSOLUTE)


def inside(flow: np.ndarray) -> np.ndarray:
    """Return which pixels end within the other frame, between the centres of its outermost pixels: (H, W) bool."""
    x, y = _ends(flow)
    height, width = x.shape
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def warp(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return what the other frame holds where each pixel of the one ends, bilinearly; 0 outside of the frame.

    Args:
        values: (K, H, W) float32 of the other frame; K may be 0.
        flow: (H, W, 2) from the one frame to the other.

    Returns:
        (K, H, W) float32 in the place of the one frame. OpenCV rounds places to 1/32 of a pixel.
    """
    x, y = _ends(flow)
    warped = np.empty(values.shape, np.float32)
    for target, plane in zip(warped, values, strict=True):
        cv2.remap(np.ascontiguousarray(plane, np.float32), x, y, cv2.INTER_LINEAR, target, cv2.BORDER_CONSTANT, 0)
    return warped


def warp_ids(ids: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the id of the other frame's pixel nearest to where each pixel of the one ends; 255 outside of the frame.

    Args:
        ids: (H, W) uint8 of the other frame.
        flow: (H, W, 2) from the one frame to the other.
    """
    x, y = (np.rint(ends).astype(np.int64) for ends in _ends(flow))
    height, width = ids.shape
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.where(within, ids[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], np.uint8(IGNORE))


def tracks(frames: Sequence[np.ndarray]) -> Iterator[Track]:
    """Follow the pixels of the first frame: yield its track to the second, to the third, and so on.

    Flow is added up from frame to frame, ``w_13(x) = w_12(x) + w_23(x + w_12(x))``, since DIS finds small motions
    better; a track is consistent where each of its steps is.

    Args:
        frames: (H, W, 3) uint8 RGB each, all of one size.
    """
    track = None
    for one, other in pairwise(frames):
        forward = optical_flow(one, other)
        step = Track(forward, consistent(forward, optical_flow(other, one)))
        track = step if track is None else extended(track, step)
        yield track


def extended(track: Track, step: Track) -> Track:
    """Return a track that goes on by a step from the frame in which it ends."""
    moved = np.moveaxis(warp(np.moveaxis(step.flow, 2, 0), track.flow), 0, 2)
    goes_on = warp_ids(step.consistent.astype(np.uint8), track.flow) == 1
    return Track(track.flow + moved, track.consistent & goes_on)


def _ends(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return x.astype(np.float32, copy=False), y.astype(np.float32, copy=False)


def _grey(image: np.ndarray) -> np.ndarray:
    contiguous = np.ascontiguousarray(image)
    grey = contiguous if image.ndim == 2 else cv2.cvtColor(contiguous, cv2.COLOR_RGB2GRAY)
    return cv2.GaussianBlur(grey, (0, 0), SMOOTHING)
