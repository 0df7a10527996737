"""A recording as a source of frames: one image topic of one or several files, with the time stamps of the camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wildseg.core.errors import DataError, did_you_mean
from wildseg.frames.bags import mcap_file, sqlite_file
from wildseg.frames.bags.message import COMPRESSED, RAW, ImageMessage, Loss, StoredMessage, Topic, parse
from wildseg.frames.bags.picture import picture_of
from wildseg.frames.read_stats import DecodeError, ReadStats
from wildseg.frames.sample import ArrayPixels, Pixels, Sample
from wildseg.frames.sources import MCAP, Source
from wildseg.frames.video import Clock

FALLBACK_RATE = 30.0  # messages a second where no index tells; by it a clock goes on that went back or stood still


class BagHeader(NamedTuple):
    """What is known of a topic without reading it: messages and seconds; None where a file has no index."""

    frames: int | None
    seconds: float | None

    @property
    def rate(self) -> float:
        """Messages a second."""
        if not self.frames or self.frames < 2 or not self.seconds:
            return FALLBACK_RATE
        return (self.frames - 1) / self.seconds


class MessagePixels:
    """The pixels of a message, decoded when they are needed; see `wildseg.frames.sample.Pixels`."""

    def __init__(self, message: ImageMessage) -> None:
        """Store the message."""
        self._message = message
        self._decoded: ArrayPixels | None = None

    def detach(self) -> None:
        """Decode the message.

        Raises:
            DecodeError: it is damaged, or no picture.
        """
        if self._decoded is None:
            self._decoded = ArrayPixels(picture_of(self._message))

    def rgb(self, width: int | None = None) -> np.ndarray:
        """See Pixels; raises DecodeError."""
        return self._array().rgb(width)

    def grey(self, width: int | None = None) -> np.ndarray:
        """See Pixels; raises DecodeError."""
        return self._array().grey(width)

    def difference(self, earlier: Pixels, width: int | None = None) -> float:
        """See Pixels; raises DecodeError."""
        return self._array().difference(earlier, width)

    def _array(self) -> ArrayPixels:
        self.detach()
        if self._decoded is None:
            raise DecodeError("it was not decoded")
        return self._decoded


def choose_topics(sources: Sequence[Source], topic: str | None) -> list[Source]:
    """Return the sources, each recording with the topic to read: `topic`, or the only one of images.

    A recording that cannot be read at all keeps `topic`, and is quarantined when it is read.

    Raises:
        DataError: a recording has no topic of images, several and none is chosen, or not the chosen one; or the package
            that reads it is not installed.
    """
    return [_with_topic(source, topic) if source.kind == "bag" else source for source in sources]


def bag_header(source: Source) -> BagHeader:
    """Return how many messages the source's topic has, and their span of log time in seconds; nothing is decoded."""
    found = [one for path in source.paths for one in _topics(path) or () if one.name == source.topic]
    if not found or any(one.count is None for one in found):
        return BagHeader(None, None)
    filled = [one for one in found if one.count]
    span = max((one.last_ns for one in filled), default=0) - min((one.first_ns for one in filled), default=0)
    return BagHeader(sum(one.count or 0 for one in found), span / 1e9)


def first_size(source: Source) -> tuple[int, int]:
    """Return (width, height) of the first message that can be decoded; raises DecodeError where there is none."""
    for sample in read_bag(source, ReadStats()):
        try:
            height, width = sample.pixels.rgb().shape[:2]
        except DecodeError:
            continue
        return width, height
    raise DecodeError(f"topic {source.topic}: no message can be decoded")


def read_bag(source: Source, stats: ReadStats) -> Iterator[Sample]:
    """Yield the messages of a recording's topic, each with its own time; memory is that of one chunk.

    The time is that of acquisition, in seconds since 1970, and log time where the camera set none. The index counts the
    messages of the topic from 0, damaged ones included. A message is decoded by `pixels.detach()`, which raises
    DecodeError: of those that nobody looks at, only the layout is checked. What cannot be read is noted in `stats`.
    """
    clock = Clock(bag_header(source).rate)
    index = 0
    for path in source.paths:
        stats.files += 1
        try:
            for item in _messages(path, source.topic or ""):
                if isinstance(item, Loss):
                    stats.add_lost_frames(path.name, item.reason, item.count)
                    continue
                stats.decoded += 1
                name, index = f"{source.name}_{index:06d}", index + 1
                try:
                    message = parse(item)
                except DecodeError as error:
                    stats.add_damaged_frame(name, str(error))
                    continue
                seconds = (message.stamp_ns or item.log_ns) / 1e9
                yield Sample(source.name, index - 1, clock.advance(seconds), MessagePixels(message))
        except DecodeError as error:
            stats.add_bad_file(path.name, error)
    if not index and len(stats.bad_files) < stats.files:
        stats.add_bad_file(source.paths[0].name, DecodeError(f"it holds no message of the topic {source.topic}"))


def _with_topic(source: Source, topic: str | None) -> Source:
    listed = [found for path in source.paths if (found := _topics(path)) is not None]
    if not listed:
        return replace(source, topic=topic)
    topics = {one.name: one for found in listed for one in found}
    images = sorted(name for name, one in topics.items() if one.kind)
    where = source.paths[0] if len(source.paths) == 1 else source.paths[0].parent
    if topic is None and len(images) > 1:
        raise DataError(f"{where}: expected one topic of images, found {len(images)}: {', '.join(images)}; "
                        f"name one: extract.topic: {images[0]}")  # fmt: skip
    if not images:
        raise DataError(f"{where}: expected a topic of sensor_msgs/msg/{RAW} or {COMPRESSED}, found "
                        f"{_some(topics) or 'no topic at all'}")  # fmt: skip
    chosen = images[0] if topic is None else topic
    if chosen not in images:
        there = f"{topics[chosen].type_name} in it" if chosen in topics else "no such topic"
        raise DataError(f"{where}: extract.topic: expected one of {', '.join(images)}; found {chosen!r}, {there}"
                        f"{did_you_mean(chosen, images)}")  # fmt: skip
    return replace(source, topic=chosen)


def _topics(path: Path) -> list[Topic] | None:
    """Return the topics of a file, None where it cannot be read."""
    try:
        return mcap_file.topics(path) if path.suffix.lower() == MCAP else sqlite_file.topics(path)
    except DecodeError:
        return None


def _messages(path: Path, topic: str) -> Iterator[StoredMessage | Loss]:
    return mcap_file.messages(path, topic) if path.suffix.lower() == MCAP else sqlite_file.messages(path, topic)


def _some(topics: dict[str, Topic]) -> str:
    named = [f"{name} ({one.type_name})" for name, one in sorted(topics.items())]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return ", ".join(named[:3]) + more
