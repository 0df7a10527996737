"""All sources the same way: frames in order, one at a time, as many a second as wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from wildseg.frames.ahead import ahead
from wildseg.frames.pace import TOLERANCE_S, Pace
from wildseg.frames.photos import read_photo
from wildseg.frames.sample import ArrayPixels, Pixels, Sample
from wildseg.frames.sources import Source
from wildseg.frames.tally import Tally, Unusable
from wildseg.frames.video import expected_frames, read_video

AHEAD = 3  # frames decoded before they are asked for: enough to keep a decoder busy, few enough for large frames


def decoded(path: Path) -> Pixels:
    """Decode a photo at once; raises Unusable."""
    return ArrayPixels(read_photo(path))


def read(
    source: Source, fps: float | None, tally: Tally, open_photo: Callable[[Path], Pixels] = decoded
) -> Iterator[Sample]:
    """Yield the frames of `source`, at most `fps` a second of presentation time; None yields all.

    Decoding goes on in a thread while a frame is looked at, so that `tally` may be ahead until the last one came.

    Photos have no clock: all of them are yielded, and the index of a broken one stays unused. What cannot be read is
    noted in `tally` and left out. A frame that is not yielded was decoded, but never converted.
    """
    return ahead(_due(source, fps, tally, open_photo), AHEAD)


def _due(
    source: Source, fps: float | None, tally: Tally, open_photo: Callable[[Path], Pixels]
) -> Generator[Sample, None, None]:
    pace = Pace(1 / fps) if fps is not None and source.kind == "video" else None
    for sample in _all(source, tally, open_photo):
        if pace is None or pace.due(sample.clock_s):
            tally.saw(source.name, sample.clock_s)
            sample.pixels.own()  # it is looked at in another thread, while this one decodes on
            yield sample


def expected(sources: Sequence[Source], fps: float | None) -> int | None:
    """Return about how many frames `read` will yield over all sources, or None where a header does not say."""
    total = 0
    for source in sources:
        if source.kind == "photos":
            total += len(source.paths)
            continue
        frames, seconds = expected_frames(source.paths[0])
        if seconds is None:
            return None
        total += frames if fps is None else min(frames, max(1, math.ceil((seconds - TOLERANCE_S) * fps)))
    return total


def _all(source: Source, tally: Tally, open_photo: Callable[[Path], Pixels]) -> Iterator[Sample]:
    for position, path in enumerate(source.paths):
        tally.files += 1
        try:
            if source.kind == "video":
                yield from read_video(path, source.name, tally)
            else:
                pixels = open_photo(path)
                tally.decoded += 1
                yield Sample(source.name, position, None, pixels)
        except Unusable as error:
            tally.bad_file(path.name, error)
