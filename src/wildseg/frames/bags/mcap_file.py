"""Messages of one topic of an MCAP file, also of one that was cut off or damaged (MCAP specification, version 0)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from wildseg.core.errors import DataError, check_regular
from wildseg.frames.bags.message import Loss, StoredMessage, Topic, kind_of
from wildseg.frames.read_stats import DecodeError, reason_of

if TYPE_CHECKING:
    from mcap.records import Channel, Chunk, Schema
    from mcap.summary import Summary

MAX_BYTES = 2**31  # of a record, and of an unpacked chunk: many times what writers use


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        import mcap  # noqa: F401
    except ImportError as error:
        raise DataError(f"{path}: expected a package that reads MCAP files, which is not installed; "
                        "pip install 'wildseg[ros]'") from error  # fmt: skip
    try:
        check_regular(path)
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise DecodeError(f"it cannot be opened ({reason_of(error)})") from error


def topics(path: Path) -> list[Topic]:
    """Return the topics of a file, from its index where there is one, else from the whole file.

    Raises:
        DataError: the package that reads MCAP is not installed.
        DecodeError: it is no MCAP file.
    """
    with _opened(path) as stream:
        summary = _summary(stream)
        if summary is None:
            stream.seek(0)
            found = _Definitions()
            for record in _records(stream):
                found.add(record)
            return [_topic(channel, found.schemas) for channel in found.channels.values()]
        found = _Definitions(summary.schemas, summary.channels)
        statistics = summary.statistics
        counts: dict[str, int] = {}
        for number, channel in found.channels.items():
            counted = statistics.channel_message_counts.get(number, 0) if statistics else 0
            counts[channel.topic] = counts.get(channel.topic, 0) + counted
        times = (statistics.message_start_time, statistics.message_end_time) if statistics else (0, 0)
        named = {channel.topic: _topic(channel, found.schemas) for channel in found.channels.values()}
        return [Topic(*topic[:3], counts[name] if statistics else None, *times) for name, topic in named.items()]


def messages(path: Path, topic: str) -> Iterator[StoredMessage | Loss]:
    """Yield the messages of a topic in the order of the file, those of a chunk by their log time; one chunk in memory.

    Every chunk is compared with its checksum. Of a damaged one the index that follows it counts what is lost.

    Raises:
        DecodeError: it is no MCAP file.
    """
    with _opened(path) as stream:
        summary = _summary(stream)
        found = _Definitions(summary.schemas, summary.channels) if summary else _Definitions()
        counts = summary.statistics.channel_message_counts if summary and summary.statistics else {}
        promised = sum(count for number, count in counts.items() if found.topic(number) == topic)
        stream.seek(0)
        given = 0
        for record in _records(stream):
            if isinstance(record, _Unreadable):
                lost = sum(number for channel, number in record.counts.items() if found.topic(channel) == topic)
                lost = max(1, promised - given) if record.at_end else lost
                given += lost
                if lost:
                    yield Loss(lost, record.reason)
                continue
            if found.add(record) or found.topic(record.channel_id) != topic:
                continue
            given += 1
            channel = found.channels[record.channel_id]
            kind = _topic(channel, found.schemas).kind
            yield StoredMessage(record.log_time, kind, channel.message_encoding, record.data)


class _Definitions:
    """The channels and schemas of a file, as far as they are known."""

    def __init__(self, schemas: dict[int, Schema] | None = None, channels: dict[int, Channel] | None = None) -> None:
        self.schemas = dict(schemas or {})
        self.channels = dict(channels or {})

    def add(self, record: object) -> bool:
        """Note a definition; return whether the record is anything but a message of a known channel."""
        from mcap.records import Channel, Message, Schema

        if isinstance(record, Schema):
            self.schemas[record.id] = record
        elif isinstance(record, Channel):
            self.channels[record.id] = record
        return not isinstance(record, Message) or record.channel_id not in self.channels

    def topic(self, channel: int) -> str | None:
        return self.channels[channel].topic if channel in self.channels else None


class _Unreadable:
    """A chunk that is damaged, or the rest of a file; `counts` has the messages of each channel, by the index."""

    def __init__(self, reason: str, *, at_end: bool = False) -> None:
        self.reason = reason
        self.at_end = at_end
        self.counts: dict[int, int] = {}


def _topic(channel: Channel, schemas: dict[int, Schema]) -> Topic:
    type_name = schemas[channel.schema_id].name if channel.schema_id in schemas else ""
    return Topic(channel.topic, type_name, kind_of(type_name, channel.message_encoding))


def _summary(stream: IO[bytes]) -> Summary | None:
    """Return the index at the end of a file, None where it is missing or damaged.

    Raises:
        DecodeError: it is no MCAP file.
    """
    from mcap.reader import SeekingReader

    try:
        reader = SeekingReader(stream, record_size_limit=MAX_BYTES)
    except Exception as error:
        raise DecodeError("it is not an MCAP file") from error
    try:
        summary = reader.get_summary()
    except Exception:  # whatever a damaged index makes a reader stumble over
        return None
    return summary if summary is not None and summary.channels else None


def _records(stream: IO[bytes]) -> Iterator[Any]:
    """Yield the records of the data section, those inside of chunks as well, and what of it cannot be read."""
    from mcap.records import Chunk, DataEnd, MessageIndex
    from mcap.stream_reader import StreamReader

    records = StreamReader(stream, emit_chunks=True, record_size_limit=MAX_BYTES).records
    damaged: _Unreadable | None = None
    while True:
        try:
            record = next(records)
        except Exception:  # also StopIteration: the file ends before its data section does
            record = None
        if damaged is not None and isinstance(record, MessageIndex):
            damaged.counts[record.channel_id] = len(record.records)
            continue
        if damaged is not None:
            yield damaged
            damaged = None
        if record is None:
            yield _Unreadable("the file is cut off or damaged, and the rest of it cannot be read", at_end=True)
            return
        if isinstance(record, DataEnd):
            return
        if not isinstance(record, Chunk):
            yield record
            continue
        try:
            yield from _unpacked(record)
        except Exception as error:
            damaged = _Unreadable(f"a chunk is damaged ({reason_of(error)})")


def _unpacked(chunk: Chunk) -> list[Any]:
    """Return the records of a chunk, messages after all others and by their log time.

    Raises:
        Exception: it is damaged, larger than it says, or packed in an unknown way.
    """
    from mcap.records import Message
    from mcap.stream_reader import breakup_chunk

    size = chunk.uncompressed_size
    if size > MAX_BYTES:
        raise ValueError(f"it claims {size} bytes")
    content = chunk.data
    if chunk.compression == "zstd":
        import zstandard

        content = zstandard.ZstdDecompressor().stream_reader(content).read(size + 1)
    elif chunk.compression == "lz4":
        import lz4.frame

        content = lz4.frame.LZ4FrameDecompressor().decompress(content, max_length=size + 1)
    elif chunk.compression:
        raise ValueError(f"packed by {chunk.compression!r}")
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes where {size} are expected")
    found = breakup_chunk(replace(chunk, data=content, compression=""), validate_crc=True)
    return sorted(found, key=lambda record: record.log_time if isinstance(record, Message) else -1)
