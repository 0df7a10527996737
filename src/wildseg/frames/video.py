"""Videos by PyAV: frames one at a time, each with its presentation time, upright, converted on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from wildseg.core.errors import check_regular
from wildseg.frames.decoding import PacketDecoder
from wildseg.frames.deinterlace import deinterlaced
from wildseg.frames.ffmpeg_log import CapturedErrors
from wildseg.frames.frame_copy import FrameCopier
from wildseg.frames.image import grey, mean_difference, size_for_width
from wildseg.frames.lost_frames import ReadProgress, duration_s, rate_of, record_lost_frames
from wildseg.frames.read_stats import MAX_PIXELS, DecodeError, ReadStats, reason_of
from wildseg.frames.rendering import SCALING, RenderSpec, RenderSpecs, render
from wildseg.frames.sample import Pixels, Sample
from wildseg.frames.streams import decoder_for, main_video, unread_streams
from wildseg.frames.truncation import truncation

# Values of AVColorSpace whose luma has the weights of Rec.601: unspecified (which FFmpeg reads so), BT.470, SMPTE 170M.
REC601_SPACES = frozenset({2, 5, 6})

# Lists of other files, of which each is a source of its own if it lies in the folder.
PLAYLISTS = frozenset({"concat", "dash", "hls", "imf"})


class VideoPixels:
    """The pixels of a decoded frame; see `wildseg.frames.sample.Pixels`."""

    def __init__(self, frame: av.VideoFrame, spec: RenderSpec, copier: FrameCopier) -> None:
        """Keep the frame as the decoder left it, and how it becomes the picture that it stands for."""
        self._frame = frame
        self._spec = spec
        self._copier = copier
        self._greys: dict[int | None, np.ndarray] = {}  # a key frame is compared with many

    def rgb(self, width: int | None = None) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB, upright, shrunk to at most `width` pixels across."""
        return self._convert("rgb24", width)

    def grey(self, width: int | None = None) -> np.ndarray:
        """Return (H, W) uint8 grey of Rec.601, upright, shrunk to at most `width` pixels across."""
        if width not in self._greys:
            self._greys[width] = self._grey(width)
        return self._greys[width]

    def difference(self, earlier: Pixels, width: int | None = None) -> float:
        """Return the mean of |earlier - this| over grey pixels, 0 to 255, both shrunk to at most `width` across."""
        return mean_difference(earlier.grey(width), self.grey(width))

    def detach(self) -> None:
        """Let go of the decoder's memory."""
        self._frame = self._copier.copy(self._frame)

    def _grey(self, width: int | None) -> np.ndarray:
        stored = self._frame.format
        if (
            self._spec.is_plain
            and self._frame.colorspace in REC601_SPACES
            and not stored.is_rgb
            and not stored.has_palette
        ):
            return self._convert("gray", width)  # the luma plane is that grey, and converting no colour is much faster
        return grey(self.rgb(width))

    def _convert(self, pixel_format: str, limit: int | None) -> np.ndarray:
        width, height = self._spec.square_size(self._frame.width, self._frame.height)
        if self._spec.orientation.transpose:
            height, width = size_for_width(height, width, limit)
        else:
            width, height = size_for_width(width, height, limit)
        if self._spec.is_plain:
            converted = self._frame.reformat(width, height, pixel_format, interpolation=SCALING, threads=1).to_ndarray()
        else:
            converted = render(self._frame, self._spec, width, height)
        return self._spec.orientation.apply(converted)


class Clock:
    """Presentation times that always advance, also where a container leaves them out or starts them again."""

    def __init__(self, rate: float) -> None:
        """Store the frame rate, from which missing times are filled in."""
        self._step_s = 1 / rate
        self._first_s: float | None = None
        self._now_s = 0.0

    def advance(self, time_s: float | None) -> float:
        """Return the time of the next frame, of which the container has the time `time_s`."""
        if self._first_s is None:
            self._first_s = self._now_s = time_s or 0.0
        elif time_s is None or time_s <= self._now_s:
            self._now_s += self._step_s
        else:
            self._now_s = time_s
        return self._now_s

    @property
    def now_s(self) -> float:
        """Return the time of the latest frame."""
        return self._now_s

    @property
    def elapsed_s(self) -> float:
        """Return the time from the first frame to the latest."""
        return self._now_s - (self._first_s or 0.0)


def read_video(path: Path, source: str, stats: ReadStats) -> Iterator[Sample]:
    """Yield the frames of a video in order; memory does not grow with its length but by some bytes a frame.

    Frames that the decoder had to patch up are noted in `stats` and left out, but keep their index. Frames predicted
    from those may still show traces: leaving all out up to the next key frame would cost seconds of good video.

    A frame shares its memory with the decoder until its `pixels.own()` is called. That is for the thread that reads,
    and before it requests the next frame.

    Raises:
        DecodeError: the file is not a video, or not one frame of it can be decoded.
    """
    with _opened(path) as (container, stream, broken):
        truncated = truncation(path)
        if unread := unread_streams(container, stream, path):
            stats.note(path.name, unread)
        samples = _samples(container, stream, path, source, truncated, broken, stats)
        yield from _but_the_last(samples, stats) if truncated else samples


def _samples(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    path: Path,
    source: str,
    truncated: str | None,
    broken: bool,
    stats: ReadStats,
) -> Iterator[Sample]:
    clock = Clock(float(stream.guessed_rate or rate_of(stream)))
    context, copier = decoder_for(stream), FrameCopier()
    specs = RenderSpecs(stream, context, copier, path.name, stats)
    packets = PacketDecoder(container, stream, context, path.name, stats)
    packets.timeline.broken_at_start = broken
    frame = None
    good, known_before = 0, stats.decoded + stats.lost
    for index, (frame, damage, shown) in enumerate(deinterlaced(packets.frames())):
        stats.decoded += 1
        pixels = VideoPixels(shown, specs.of(frame, packets.ratio_of(frame)), copier)
        sample = Sample(source, index, clock.advance(frame.time), pixels)
        if damage:
            stats.add_damaged_frame(sample.name, damage)
            continue
        good += 1
        yield sample
    if frame is None or not good:
        raise DecodeError("it holds no frame that can be decoded")
    known = stats.decoded + stats.lost - known_before
    last_s = float(frame.duration * stream.time_base) if frame.duration else None
    record_lost_frames(packets, ReadProgress(clock.elapsed_s, clock.now_s, last_s, known), truncated, path, stats)


def _but_the_last(samples: Iterator[Sample], stats: ReadStats) -> Iterator[Sample]:
    """Yield the samples of a file that is cut off; some decoders give out what is there of the last, unmarked."""
    held = None
    for sample in samples:
        if held is not None:
            yield held
        held = sample
    if held is not None:
        stats.add_damaged_frame(held.name, "the file is cut off, and this is the last frame before the end")


def expected_frames(path: Path) -> tuple[int, float | None]:
    """Return (frames, seconds) as the header of a video promises them; (0, 0.0) for a file that cannot be read.

    Seconds are None where the header has no duration.
    """
    try:
        with _opened(path) as (container, stream, _):
            seconds = duration_s(container, stream)
            if seconds is None and container.duration:
                seconds = container.duration / av.time_base
            return stream.frames or round((seconds or 0.0) * rate_of(stream)), seconds
    except DecodeError:
        return 0, 0.0


@contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream, bool]]:
    """Give the container, its video stream, and whether the container's first part is broken."""
    try:
        check_regular(path)
        if not path.stat().st_size:
            raise DecodeError("the file is empty")
        # Only this file is opened: a playlist under a video's name must not make us fetch what it names.
        with CapturedErrors() as log:
            container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"it is not a video that can be opened ({reason_of(error)})") from error
    with container:
        stream = main_video(container)
        if stream is None:
            raise DecodeError("it holds no video")
        if container.format.name in PLAYLISTS:
            raise DecodeError("it is a list of other files under a video's name")
        if stream.codec_context is None:
            raise DecodeError("its codec is not known here")
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise DecodeError("it is a picture under a video's name; give it a picture's suffix")
        if stream.width * stream.height > MAX_PIXELS:
            raise DecodeError(f"it claims {stream.width}x{stream.height} pixels a frame")
        # With more threads, what a damaged frame looks like, and whether it is marked, depends on who is faster.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # for frames larger than the header says
        yield container, stream, log.of(container.format.name)
