"""A video of pictures, by PyAV: H.264 in MP4, each picture at its own presentation time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from wildseg.core.files import atomic

TICKS = 90_000  # a second, the clock of MPEG: exact for all usual rates
ROUNDED_S = 0.001  # Matroska and others round times to milliseconds; the rate is exact where that is undone


class VideoWriter:
    """Encodes pictures of one size, one at a time; memory does not grow with their number."""

    def __init__(self, container: av.container.OutputContainer, rate: Fraction) -> None:
        """Take an open container; the first picture decides the size.

        Args:
            container: to write to.
            rate: pictures a second, for the encoder and for the duration of the last one.
        """
        self._container = container
        self._rate = rate
        self._stream: av.VideoStream | None = None
        self._first_s = 0.0
        self._last = -1

    def add(self, picture: np.ndarray, time_s: float) -> None:
        """Encode a picture, (H, W, 3) uint8 RGB, that is shown at `time_s` seconds; times advance."""
        if self._stream is None:
            self._first_s = time_s
            self._stream = self._new_stream(*picture.shape[:2])
        size = self._stream.width, self._stream.height
        if picture.shape[1::-1] != size:  # a stream may change its size midway
            picture = np.asarray(Image.fromarray(picture).resize(size))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        self._last = max(self._last + 1, self._ticks(time_s - self._first_s))
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        frame.duration = round(TICKS / self._rate)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Encode what the encoder still holds."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())

    def _ticks(self, seconds: float) -> int:
        steady = round(seconds * self._rate) / self._rate
        return round((steady if abs(steady - seconds) <= ROUNDED_S else seconds) * TICKS)

    def _new_stream(self, height: int, width: int) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height = width, height
        # Colour at half the resolution needs even sides.
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        return stream


@contextmanager
def video_writer(path: Path, rate: Fraction) -> Iterator[VideoWriter]:
    """Write a video at `path`, which is there once it is whole; without any picture there is none.

    Args:
        path: ``.mp4``.
        rate: pictures a second.
    """
    with atomic(path) as temporary, av.open(str(temporary), "w") as container:
        writer = VideoWriter(container, rate)
        yield writer
        writer.close()
