"""Writing a video that is the same, byte for byte, every time."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

# Constant quality, and a key frame every ten frames for quick seeking. The look-ahead that weighs blocks by how much
# later frames use them (mbtree) is off: with frames this small it reads memory that nobody set, and bytes vary.
_X264 = {"crf": "10", "g": "10", "x264-params": "mbtree=0"}


class FrameSink(Protocol):
    """What `open_video` gives: call it with one (H, W, 3) uint8 RGB image after the other."""

    def __call__(self, image: NDArray[np.uint8]) -> None:
        """Append a frame."""


@contextmanager
def open_video(path: Path, size: tuple[int, int], frames_per_second: int) -> Iterator[FrameSink]:
    """Encode an H.264 video; the file appears under its name only when it is complete.

    Args:
        path: of the .mp4.
        size: width and height in pixels, both even.
        frames_per_second: frame k is shown at k / frames_per_second seconds.

    Yields:
        A function that appends a frame.
    """
    partial = path.with_name(f".{path.stem}.partial.mp4")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("libx264", rate=frames_per_second, options=_X264)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        # Several encoder threads would split the work differently from machine to machine.
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, frames_per_second)
        count = 0

        def append(image: NDArray[np.uint8]) -> None:
            nonlocal count
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = count, Fraction(1, frames_per_second)
            container.mux(stream.encode(frame))
            count += 1

        yield append
        container.mux(stream.encode(None))
    partial.replace(path)
