"""Reads all kinds of sources: frames in order, one at a time, at most at a given rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from wildseg.frames.bags.bag import bag_header, read_bag
from wildseg.frames.photos import read_photo
from wildseg.frames.prefetch import prefetch
from wildseg.frames.read_stats import DecodeError, ReadStats
from wildseg.frames.sample import ArrayPixels, Pixels, Sample
from wildseg.frames.sources import Source
from wildseg.frames.subsampling import TOLERANCE_S, RateSubsampler
from wildseg.frames.video import expected_frames, read_video

PREFETCH = 3  # frames decoded in advance: enough to keep a decoder busy, few enough for large frames


def decoded(path: Path) -> Pixels:
    """Decode a photo at once; raises DecodeError."""
    return ArrayPixels(read_photo(path))


def read(
    source: Source, fps: float | None, stats: ReadStats, open_photo: Callable[[Path], Pixels] = decoded
) -> Generator[Sample, None, None]:
    """Yield the frames of `source`, at most `fps` a second of presentation time; None yields all.

    Frames are decoded in a thread of their own, so that `stats` may be ahead of the frames yielded.

    Photos have no clock: all of them are yielded, and the index of a broken one stays unused. What cannot be read is
    noted in `stats` and left out. A frame of a video that is not yielded was decoded, but never converted; a message of
    a recording is decoded when it is due, and the next one takes the place of one that is damaged.
    """
    return prefetch(_due(source, fps, stats, open_photo), PREFETCH)


def _due(
    source: Source, fps: float | None, stats: ReadStats, open_photo: Callable[[Path], Pixels]
) -> Generator[Sample, None, None]:
    subsampler = RateSubsampler(1 / fps) if fps is not None and source.timed else None
    for sample in _all(source, stats, open_photo):
        if subsampler is None or subsampler.due(sample.clock_s):
            try:
                sample.pixels.detach()  # it is used in another thread, while this one decodes on
            except DecodeError as error:
                stats.add_damaged_frame(sample.name, str(error))
                if subsampler is not None:
                    subsampler.withdraw()
                continue
            stats.add_sampled(source.name, sample.clock_s)
            yield sample


def expected(sources: Sequence[Source], fps: float | None) -> int | None:
    """Return about how many frames `read` will yield over all sources, or None where a header has no duration."""
    total = 0
    for source in sources:
        if source.kind == "photos":
            total += len(source.paths)
            continue
        frames, seconds = header_of(source)
        if seconds is None:
            return None
        total += frames if fps is None else min(frames, max(1, math.ceil((seconds - TOLERANCE_S) * fps)))
    return total


def header_of(source: Source) -> tuple[int, float | None]:
    """Return (frames, seconds) of a video or recording by its header or index, as `expected_frames` does."""
    if source.kind != "bag":
        return expected_frames(source.paths[0])
    header = bag_header(source)
    return header.frames or 0, header.seconds


def _all(source: Source, stats: ReadStats, open_photo: Callable[[Path], Pixels]) -> Iterator[Sample]:
    if source.kind == "bag":
        yield from read_bag(source, stats)
        return
    for position, path in enumerate(source.paths):
        stats.files += 1
        try:
            if source.kind == "video":
                yield from read_video(path, source.name, stats)
            else:
                pixels = open_photo(path)
                stats.decoded += 1
                yield Sample(source.name, position, None, pixels)
        except DecodeError as error:
            stats.add_bad_file(path.name, error)
