"""What is missing of a video that was read: frames between others, and what its header promises beyond the last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import av

from wildseg.frames.decoding import PacketDecoder
from wildseg.frames.gaps import INDEXED_CONTAINERS
from wildseg.frames.gif_blocks import broken_blocks
from wildseg.frames.read_stats import ReadStats

FALLBACK_RATE = 25.0  # frames a second where neither the container nor its frames say any time; FFmpeg's own choice

LEAST_SLACK_S = 0.1

# Containers whose header counts to the last frame from 0, and not from the first.
FROM_ZERO = frozenset({"asf", "matroska,webm"})


class ReadProgress(NamedTuple):
    """How far a video could be read, in seconds: from the first frame to the last, to the last from 0, and beyond it.

    `last_s` is how long the last frame itself says that it lasts, and `known` how many frames were decoded or are
    noted as lost.
    """

    elapsed_s: float
    now_s: float
    last_s: float | None
    known: int


def record_lost_frames(
    decoder: PacketDecoder, progress: ReadProgress, truncated: str | None, path: Path, stats: ReadStats
) -> None:
    """Record the frames missing from a video that was decoded up to its end; `truncated`: why the end is missing.

    Raises:
        OSError: the file cannot be read.
    """
    before = stats.lost
    _note_gaps(decoder, path, stats)
    _note_early_end(decoder, progress._replace(known=progress.known + stats.lost - before), truncated, path.name, stats)


def _note_gaps(decoder: PacketDecoder, path: Path, stats: ReadStats) -> None:
    """Note frames that are missing between others, by their times, a list of frames, or blocks that are broken."""
    stream, kind = decoder.stream, decoder.container.format.name
    for gap in decoder.timeline.gaps(float(stream.time_base or 0), indexed=kind in INDEXED_CONTAINERS):
        reason = f"frames are missing between {gap.from_s:.2f} and {gap.to_s:.2f} s: {gap.frames} by their pace"
        stats.add_lost_frames(path.name, reason, gap.frames)
    if kind == "avi":
        listed = sum(entry.size > 0 for entry in stream.index_entries)  # empty ones are frames that a camera skipped
        if (missing := listed - decoder.packets) > 0:
            stats.add_lost_frames(path.name, f"{missing} of the {listed} frames in its index are not there", missing)
    if kind == "gif" and (blocks := broken_blocks(path)):
        missing = max(1, blocks.pictures - decoder.packets)
        reason = f"its blocks are broken {blocks.place} bytes into the file, where about {missing} pictures are lost"
        stats.add_lost_frames(path.name, reason, missing)


def _note_early_end(
    decoder: PacketDecoder, progress: ReadProgress, truncated: str | None, item: str, stats: ReadStats
) -> None:
    """Note what the header promises beyond the end."""
    stream, container = decoder.stream, decoder.container
    usual_s, longest_s = decoder.timeline.steps_s() or (1 / rate_of(stream),) * 2
    read_s = progress.now_s if container.format.name in FROM_ZERO else progress.elapsed_s
    read_s += usual_s if progress.last_s is None else progress.last_s
    promised_s = duration_s(container, stream)
    missing_s = 0.0 if promised_s is None else max(0.0, promised_s - read_s)
    missing = 1  # at least, where no length is promised
    if promised_s is not None:
        missing = max(0, min(round(missing_s / usual_s), round(promised_s / usual_s) - progress.known))
    # Where frames come at any time, the header's end may lie a little behind the last of them.
    slack_s = max(0.02 * (promised_s or 0.0), min(1.0, 3 * usual_s), 2 * longest_s, LEAST_SLACK_S)
    if decoder.timeline.damaged:
        slack_s = usual_s / 2
    if promised_s is not None and missing_s > slack_s:
        # A disk that does not answer looks like an end to FFmpeg: only where the bytes say so is it one for good.
        reason = f"it ends early: {read_s:.1f} of {promised_s:.1f} s could be read"
        stats.add_lost_frames(item, reason, missing, transient=not truncated)
    elif truncated:
        stats.add_lost_frames(item, truncated, missing)


def duration_s(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """Return how long the picture lasts by the header, None where that only tells how long picture or sound last."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    for key, value in stream.metadata.items():  # Matroska: "DURATION": "00:01:02.500000000"
        if key.upper().startswith("DURATION") and re.fullmatch(r"\d+:\d+:\d+(\.\d+)?", value):
            hours, minutes, seconds = map(float, value.split(":"))
            return 3600 * hours + 60 * minutes + seconds
    return container.duration / av.time_base if container.duration and len(container.streams) == 1 else None


def rate_of(stream: av.VideoStream) -> float:
    """Return the frames a second, as the header or the first frames tell."""
    return float(stream.average_rate or stream.guessed_rate or FALLBACK_RATE)
