"""Interlaced frames made whole: each shows the moment of its first field, by FFmpeg's bwdif.

An interlaced frame holds two moments, one in its even rows and one in its odd ones, so that what moves has combs for
edges. bwdif (BBC PH-2071 with yadif's checks) keeps the rows of the first field, and finds those between from
neighbours above, below, before and after. Frames are as many as before, with their own numbers and times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction

import av
from av.filter import Graph

REMARK = "interlaced video; frames show the moment of their first field, with the rows between interpolated (bwdif)"
ANY_TIME_BASE = Fraction(1, 1000)  # times are not looked at
Decoded = tuple[av.VideoFrame, str | None]
BWDIF = "mode=send_frame:parity=auto:deint=interlaced"


def deinterlaced(frames: Iterable[Decoded]) -> Iterator[tuple[av.VideoFrame, str | None, av.VideoFrame]]:
    """Yield (frame as decoded, what is damaged about it, frame to show) for each frame in order.

    The frame to show is the one as decoded where that is not interlaced. From the first interlaced frame on, a frame
    comes when the one behind it has been decoded. A damaged frame is shown as it is, and is nobody's neighbour.

    Args:
        frames: (frame, why it is not as it was recorded, None for a sound one).
    """
    run: _Run | None = None
    for frame, damage in frames:
        if run is not None and (damage or not run.fits(frame)):
            yield from run.end()
            run = None
        if run is None and frame.interlaced_frame and not damage:
            with suppress(av.FFmpegError):  # of a frame of fewer than three rows or columns, the rows are left as is
                run = _Run(frame)
        if run is None:
            yield frame, damage, frame
        else:
            yield from run.add(frame)
    if run is not None:
        yield from run.end()


class _Run:
    """Frames of one size and format, which go through one filter graph; it gives one for one, one frame late."""

    def __init__(self, first: av.VideoFrame) -> None:
        self._shape = _shape(first)
        self._waiting: deque[av.VideoFrame] = deque()
        self._graph = Graph()
        self._graph.threads = 1
        nodes = [
            self._graph.add_buffer(template=first, time_base=ANY_TIME_BASE),
            self._graph.add("bwdif", BWDIF),
            self._graph.add("buffersink"),
        ]
        self._graph.link_nodes(*nodes).configure()

    def fits(self, frame: av.VideoFrame) -> bool:
        return _shape(frame) == self._shape

    def add(self, frame: av.VideoFrame) -> Iterator[tuple[av.VideoFrame, None, av.VideoFrame]]:
        self._waiting.append(frame)
        self._graph.push(frame)
        return self._ready()

    def end(self) -> Iterator[tuple[av.VideoFrame, None, av.VideoFrame]]:
        self._graph.push(None)
        yield from self._ready()
        for frame in self._waiting:
            yield frame, None, frame

    def _ready(self) -> Iterator[tuple[av.VideoFrame, None, av.VideoFrame]]:
        while self._waiting:
            try:
                shown = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            if not isinstance(shown, av.VideoFrame):
                raise TypeError(f"expected a video frame from the filter, got {type(shown).__name__}")
            frame = self._waiting.popleft()
            # What a decoder left open, the filter's link fills in.
            shown.colorspace, shown.color_range = frame.colorspace, frame.color_range
            # Among interlaced frames, one that is not passes through; its own bytes are surely the right ones.
            yield frame, None, shown if frame.interlaced_frame else frame


def _shape(frame: av.VideoFrame) -> tuple[object, ...]:
    return frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range
