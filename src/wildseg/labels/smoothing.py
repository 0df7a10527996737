"""Scores smoothed over time: what neighbouring key frames of one video show, a frame in between likely shows, too.

``s'_i = sum_j w_ij s_j / sum_j w_ij`` with ``w_ij = max(0, 1 - |t_i - t_j| / window)`` over key frames j of the same
source: a triangle whose foot lies `window` seconds away on either side. Key frames are unevenly spaced; one without
close neighbours keeps its scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def smooth(scores: np.ndarray, sources: Sequence[str], times: Sequence[float | None], window: float) -> np.ndarray:
    """Return smoothed scores, (n, K) float64; frames may come in any order.

    Args:
        scores: (n, K) float.
        sources: the n videos.
        times: of each frame in its video, in seconds; a frame without any (a photo) is left as it is.
        window: in seconds, above 0.
    """
    smoothed = np.array(scores, np.float64)
    rows_of: dict[str, list[int]] = {}
    for row, (source, time) in enumerate(zip(sources, times, strict=True)):
        if time is not None:
            rows_of.setdefault(source, []).append(row)
    for rows in rows_of.values():
        _smooth_video(smoothed, scores, np.array(rows), np.array([times[row] for row in rows], np.float64), window)
    return smoothed


def _smooth_video(smoothed: np.ndarray, scores: np.ndarray, rows: np.ndarray, times: np.ndarray, window: float) -> None:
    # rows (m,) of one video, times (m,)
    order = np.argsort(times, kind="stable")
    rows, times = rows[order], times[order]
    first, last = np.searchsorted(times, times - window, "right"), np.searchsorted(times, times + window, "left")
    for row, time, start, end in zip(rows, times, first, last, strict=True):
        near = slice(start, max(end, start + 1))
        weights = 1 - np.abs(times[near] - time) / window
        smoothed[row] = weights @ scores[rows[near]] / weights.sum()
