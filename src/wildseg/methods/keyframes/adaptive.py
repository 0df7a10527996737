"""Key frames by adaptive scene cuts (PySceneDetect's AdaptiveDetector), plus one at a fixed interval within a scene.

A cut is a change in hue, saturation and brightness that exceeds the changes of the neighbouring frames, so that camera
motion alone is none.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Annotated

import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode
from scenedetect.common import Timecode

from wildseg.core.limits import Between, Seconds
from wildseg.frames.image import resize
from wildseg.frames.options import check_number
from wildseg.frames.sample import Sample
from wildseg.frames.subsampling import TOLERANCE_S

WIDTH = 256  # PySceneDetect shrinks frames to about this width by default
MICROSECOND = Fraction(1, 1_000_000)
NOMINAL_RATE = 30.0  # required by PySceneDetect; all durations here are in seconds


def select(
    frames: Iterable[Sample],
    *,
    threshold: Annotated[float, Between(0, 1000000)] = 3.0,
    min_content: Annotated[float, Between(0, 255)] = 15.0,
    window: Annotated[int, Between(1, 1000)] = 2,
    min_scene_s: Annotated[float, Between(0, 1000000)] = 0.6,
    every_s: Seconds | None = 5.0,
) -> Iterator[tuple[Sample, float]]:
    """Yield the first frame of each scene, and one every `every_s` seconds within it.

    Each comes with the seconds since the previous key frame, infinite for the first. The decision lags by `window`
    frames, the only ones held in memory. Photos have no time stamps: each counts as one second.

    Args:
        frames: the frames of one source in order.
        threshold: ratio of the change to the mean change of the `window` frames on either side that is a cut.
        min_content: lower limit of the change at a cut, 0 to 255.
        window: frames on either side, at least 1.
        min_scene_s: minimum seconds between cuts.
        every_s: interval of key frames within a scene, in seconds; None for one frame per scene.

    Raises:
        ParamsError: an invalid option.
    """
    check_number("adaptive.threshold", threshold, low=0)
    check_number("adaptive.min_content", min_content, low=0)
    check_number("adaptive.window", window, low=1, whole=True)
    check_number("adaptive.min_scene_s", min_scene_s, low=0)
    check_number("adaptive.every_s", every_s, low=0, above=True, optional=True)
    detector = AdaptiveDetector(
        adaptive_threshold=threshold,
        min_scene_len=float(min_scene_s),
        window_width=window,
        min_content_val=min_content,
    )
    return _select(_with_cuts(frames, detector), math.inf if every_s is None else every_s)


def _with_cuts(frames: Iterable[Sample], detector: AdaptiveDetector) -> Iterator[tuple[Sample, bool]]:
    """Yield each frame with whether a scene starts with it."""
    waiting: deque[Sample] = deque()  # frames that the detector has not decided on yet
    start_s: float | None = None
    size: tuple[int, int] | None = None
    for frame in frames:
        small = frame.pixels.rgb(WIDTH)
        size = size or small.shape[1::-1]
        start_s = frame.clock_s if start_s is None else start_s
        stamp = Timecode(round((frame.clock_s - start_s) / MICROSECOND), MICROSECOND)
        bgr = np.ascontiguousarray(resize(small, *size)[..., ::-1])
        cuts = detector.process_frame(FrameTimecode(stamp, NOMINAL_RATE), bgr)
        waiting.append(frame)
        if len(waiting) > detector.window_width:
            yield waiting.popleft(), bool(cuts)  # cuts are reported with a delay of exactly `window` frames
    for frame in waiting:
        yield frame, False


def _select(frames: Iterable[tuple[Sample, bool]], every_s: float) -> Iterator[tuple[Sample, float]]:
    last_s = -math.inf
    for frame, is_cut in frames:
        passed_s = frame.clock_s - last_s
        if is_cut or passed_s >= every_s - TOLERANCE_S or last_s == -math.inf:
            yield frame, passed_s
            last_s = frame.clock_s
