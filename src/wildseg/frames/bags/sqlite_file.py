"""Messages of one topic of a rosbag2 file in SQLite (.db3)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from wildseg.core.errors import DataError, check_regular
from wildseg.frames.bags.message import Loss, StoredMessage, Topic, kind_of
from wildseg.frames.read_stats import DecodeError, reason_of

MAX_BYTES = 2**31  # of an unpacked message
ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1; no message that is not packed begins so


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file for reading alone: nothing is written beside it, and it runs no function of its own schema."""
    try:
        check_regular(path)
        if not path.stat().st_size:
            raise DecodeError("the file is empty")
        journal = path.with_name(f"{path.name}-wal")
        if journal.exists() and journal.stat().st_size:
            raise DecodeError(f"messages are still in its journal {journal.name}; "
                              f"sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'")  # fmt: skip
        address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
    except sqlite3.Error as error:
        raise DecodeError(f"it is not a rosbag2 file, or it is damaged ({reason_of(error)})") from error
    except OSError as error:
        raise DecodeError(f"it cannot be opened ({reason_of(error)})") from error


def topics(path: Path) -> list[Topic]:
    """Return the topics of a file.

    Raises:
        DecodeError: it is no rosbag2 file, or damaged.
    """
    with _opened(path) as connection:
        rows = connection.execute(
            "SELECT name, type, serialization_format, COUNT(timestamp), MIN(timestamp), MAX(timestamp) "
            "FROM topics LEFT JOIN messages ON messages.topic_id = topics.id GROUP BY name, type, serialization_format"
        ).fetchall()
    return [
        Topic(str(name), str(kind), kind_of(str(kind), str(form)), count, first or 0, last or 0)
        for name, kind, form, count, first, last in rows
    ]


def messages(path: Path, topic: str) -> Iterator[StoredMessage | Loss]:
    """Yield the messages of a topic by their log time; one in memory.

    Raises:
        DecodeError: it is no rosbag2 file, or damaged before the first message.
    """
    with _opened(path) as connection:
        forms = {
            number: (kind_of(str(type_name), str(form)), str(form))
            for number, type_name, form in connection.execute(
                "SELECT id, type, serialization_format FROM topics WHERE name = ?", (topic,)
            )
        }
        rows = connection.execute(
            "SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({','.join('?' * len(forms))}) ORDER BY timestamp, id",
            tuple(forms),
        )
        given = 0
        while True:
            try:
                row = rows.fetchone()
            except sqlite3.Error as error:
                if not given:
                    raise
                yield Loss(max(1, _count(connection, forms) - given), f"the rest is damaged ({reason_of(error)})")
                return
            if row is None:
                return
            given += 1
            number, log_ns, content = row
            if not isinstance(content, bytes) or not isinstance(log_ns, int):
                yield Loss(1, "a message is no row of bytes")
                continue
            try:
                yield StoredMessage(log_ns, *forms[number], _unpacked(content, path))
            except DecodeError as error:
                yield Loss(1, str(error))


def _count(connection: sqlite3.Connection, forms: dict[int, tuple[str, str]]) -> int:
    query = f"SELECT COUNT(*) FROM messages WHERE topic_id IN ({','.join('?' * len(forms))})"
    try:
        (count,) = connection.execute(query, tuple(forms)).fetchone()
    except sqlite3.Error:
        return 0
    return int(count)


def _unpacked(content: bytes, path: Path) -> bytes:
    """Return a message, unpacked where rosbag2 packed it by itself (compression mode 'message')."""
    if not content.startswith(ZSTD):
        return content
    try:
        import zstandard
    except ImportError as error:
        raise DataError(f"{path}: its messages are packed by zstd, and the package that unpacks them is not installed; "
                        "pip install 'wildseg[ros]'") from error  # fmt: skip
    try:
        found = zstandard.ZstdDecompressor().stream_reader(content).read(MAX_BYTES)
    except zstandard.ZstdError as error:
        raise DecodeError(f"a message cannot be unpacked ({reason_of(error)})") from error
    return found
