"""Entries of the result store that hold large files, such as a trained network: streamed in blocks, never read whole.

The format is that of `wildseg.execution.result_store`. Files are put in place only after the checksum of the whole
entry was verified, so that a damaged entry changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from wildseg.core.errors import check_regular
from wildseg.core.files import atomic
from wildseg.execution.result_store import CHECKSUM, MAGIC, ResultStore, path_of

Result = TypeVar("Result")

BLOCK = 2**20  # bytes in memory at a time
LARGEST_HEADER = 2**26  # bytes of JSON; a curve has 200 points


def put(store: ResultStore, key: str, record: Any, files: Mapping[str, Path]) -> None:  # noqa: ANN401
    """Store a record that JSON can hold and copies of files by role; a full disk is reported once and is no error."""
    if store.folder is None or store.problem is not None:
        return
    try:
        with atomic(path_of(store.folder, key)) as temporary, temporary.open("w+b") as entry:
            _write(entry, record, files)
    except OSError as error:
        reason = error.strerror or error
        store.disable(f"cache: {store.folder.parent} cannot be written to ({reason}); nothing more is kept")


def get(store: ResultStore, key: str, files: Mapping[str, Path], parse: Callable[[Any], Result]) -> Result | None:
    """Put the files of an entry in place and return its record; None where there is none, or it is damaged.

    A damaged entry is removed and counted in `store.damaged`, and no file is touched.

    Args:
        store: where to look.
        key: of the entry.
        files: where to put the files, by role; the entry must have these roles and no other.
        parse: makes the result of the record, and raises a ValueError where it is another's.

    Raises:
        OSError: a file cannot be written.
    """
    if store.folder is None:
        return None
    path = path_of(store.folder, key)
    try:
        check_regular(path)
        entry = path.open("rb")
    except OSError:
        return None
    try:
        with entry:
            result = _restore(entry, files, parse)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # also: whole, but not written here
        store.damaged += 1
        with suppress(OSError):
            path.unlink()
        return None
    with suppress(OSError):  # a cache that others own may be read
        os.utime(path)  # the last use, by which `prune` decides
    return result


def _write(entry: BinaryIO, record: Any, files: Mapping[str, Path]) -> None:  # noqa: ANN401
    sizes = {role: path.stat().st_size for role, path in files.items()}
    header = json.dumps({"record": record, "files": sizes}).encode()
    checksum = hashlib.sha256()
    entry.write(MAGIC + bytes(CHECKSUM))  # the checksum follows when all else is written

    def add(block: bytes) -> None:
        checksum.update(block)
        entry.write(block)

    add(len(header).to_bytes(8, "little") + header)
    for role, path in files.items():
        with path.open("rb") as stream:
            for block in _blocks(stream, sizes[role]):
                add(block)
    entry.seek(len(MAGIC))
    entry.write(checksum.digest())


def _restore(entry: BinaryIO, files: Mapping[str, Path], parse: Callable[[Any], Result]) -> Result:
    """Put files in place and return the record.

    Raises:
        ValueError: the entry is damaged, or not of these files; nothing was put in place.
    """
    magic, claimed, length = entry.read(len(MAGIC)), entry.read(CHECKSUM), entry.read(8)
    size = int.from_bytes(length, "little")
    if magic != MAGIC or size > LARGEST_HEADER:
        raise ValueError("not an entry")
    text = entry.read(size)
    checksum = hashlib.sha256(length + text)
    header = json.loads(text)
    if set(header["files"]) != set(files):
        raise ValueError("an entry of other files")
    result = parse(header["record"])
    with ExitStack() as placing:  # renames them at its end, and removes them instead where an error is raised in it
        for role, number in header["files"].items():
            with placing.enter_context(atomic(files[role])).open("wb") as target:
                for block in _blocks(entry, number):
                    checksum.update(block)
                    target.write(block)
        if entry.read(1) or checksum.digest() != claimed:
            raise ValueError("a damaged entry")
    return result


def _blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next `size` bytes of a stream.

    Raises:
        ValueError: it ends before.
    """
    while size > 0:
        block = stream.read(min(BLOCK, size))
        if not block:
            raise ValueError("the file ends too early")
        size -= len(block)
        yield block
