"""What is missing of a video that was read: frames between others, and what its header promises beyond the last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import av

from wildseg.frames.decoding import Decoding
from wildseg.frames.gaps import OWN_ACCOUNT
from wildseg.frames.gif_blocks import broken_blocks
from wildseg.frames.tally import Tally

FALLBACK_RATE = 25.0  # frames a second where neither the container nor its frames say any time; FFmpeg's own choice

LEAST_SLACK_S = 0.1

# Containers whose header counts to the last frame from 0, and not from the first.
FROM_ZERO = frozenset({"asf", "matroska,webm"})


class Read(NamedTuple):
    """How far a video could be read, in seconds: from the first frame to the last, to the last from 0, and beyond it.

    `last_s` is how long the last frame itself says that it lasts, and `known` how many frames were decoded or are
    noted as lost.
    """

    elapsed_s: float
    now_s: float
    last_s: float | None
    known: int


def note_losses(decoding: Decoding, read: Read, cut: str | None, path: Path, tally: Tally) -> None:
    """Note the frames that are missing of a video which was decoded up to its end; `cut` says that the end is missing.

    Raises:
        OSError: the file cannot be read.
    """
    before = tally.lost
    _note_gaps(decoding, path, tally)
    _note_early_end(decoding, read._replace(known=read.known + tally.lost - before), cut, path.name, tally)


def _note_gaps(decoding: Decoding, path: Path, tally: Tally) -> None:
    """Note frames that are missing between others, by their times, a list of frames, or blocks that are broken."""
    stream, kind = decoding.stream, decoding.container.format.name
    for gap in decoding.timeline.gaps(float(stream.time_base or 0), own_account=kind in OWN_ACCOUNT):
        reason = f"frames are missing between {gap.from_s:.2f} and {gap.to_s:.2f} s: {gap.frames} by their pace"
        tally.lost_frames(path.name, reason, gap.frames)
    if kind == "avi":
        listed = sum(entry.size > 0 for entry in stream.index_entries)  # empty ones are frames that a camera skipped
        if (missing := listed - decoding.packets) > 0:
            tally.lost_frames(path.name, f"{missing} of the {listed} frames in its index are not there", missing)
    if kind == "gif" and (blocks := broken_blocks(path)):
        missing = max(1, blocks.pictures - decoding.packets)
        reason = f"its blocks are broken {blocks.place} bytes into the file, where about {missing} pictures are lost"
        tally.lost_frames(path.name, reason, missing)


def _note_early_end(decoding: Decoding, read: Read, cut: str | None, item: str, tally: Tally) -> None:
    """Note what the header promises beyond the end."""
    stream, container = decoding.stream, decoding.container
    usual_s, longest_s = decoding.timeline.steps_s() or (1 / rate_of(stream),) * 2
    read_s = read.now_s if container.format.name in FROM_ZERO else read.elapsed_s
    read_s += usual_s if read.last_s is None else read.last_s
    promised_s = duration_s(container, stream)
    missing_s = 0.0 if promised_s is None else max(0.0, promised_s - read_s)
    missing = 1  # at least, where no length is promised
    if promised_s is not None:
        missing = max(0, min(round(missing_s / usual_s), round(promised_s / usual_s) - read.known))
    # Where frames come at any time, the header's end may lie a little behind the last of them.
    slack_s = max(0.02 * (promised_s or 0.0), min(1.0, 3 * usual_s), 2 * longest_s, LEAST_SLACK_S)
    if decoding.timeline.damaged:
        slack_s = usual_s / 2
    if promised_s is not None and missing_s > slack_s:
        # A disk that does not answer looks like an end to FFmpeg: only where the bytes say so is it one for good.
        reason = f"it ends early: {read_s:.1f} of {promised_s:.1f} s could be read"
        tally.lost_frames(item, reason, missing, passing=not cut)
    elif cut:
        tally.lost_frames(item, cut, missing)


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
