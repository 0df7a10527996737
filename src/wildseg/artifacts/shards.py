"""Shards: the many small files of a folder as a few large ones, because DVC is slow on many small files.

A shard is a zip file without compression of about a thousand files, named after the first frame in it. Its bytes depend
on the names and contents of these files alone. Readers open a loose file, or else the member of the
shard that covers its name; they hold no file open, and so may be forked, spawned and copied.

Where a shard begins depends on names alone: at each frame whose name hashes to 0 modulo `MEAN_FILES`. A frame added
or removed therefore changes its own shard, not all later ones, and `dvc push` sends few bytes: a
new video changes the shard into which its name sorts and adds its own. Shards of a fixed count would shift every
boundary after the first new frame. Frames added throughout the dataset do change every shard.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wildseg.core.errors import check_regular
from wildseg.core.files import atomic
from wildseg.core.names import is_plain

SUFFIX = ".zip"
MEAN_FILES = 1024  # files in a shard, on average
MAX_FILES = 2048  # files in a shard, at most: the end of one shard in seven
MAX_BYTES = 2**31  # without the ZIP64 extension

CACHED_DIRECTORIES = 2048  # of shards, kept in memory by one process: some 40 kB each, for two million frames
END, END_MARK = 22, b"PK\5\6"  # the end record of a zip file, and its magic number
LARGE_MARK = b"PK\6\7"  # of the 20 bytes before it in a ZIP64 file
HEADER, HEADER_MARK = 30, b"PK\3\4"  # the same of a member's local header
EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)  # of the zip format


# Write -----------------------------------------------------------------------------------------------------------


def pack(folder: Path, frames: Iterable[str], suffix: str) -> None:
    """Pack the loose files ``<frame><suffix>`` of a folder into shards; each is deleted once its shard is in place.

    Raises:
        OSError: a file is missing, or the disk is full; files outside of a complete shard are still loose.
    """
    sizes = {frame: (folder / f"{frame}{suffix}").stat().st_size for frame in frames}
    for group in split_into_shards(sizes):
        loose = [folder / f"{frame}{suffix}" for frame in group]
        with atomic(folder / f"{group[0]}{SUFFIX}") as temporary, zipfile.ZipFile(temporary, "w") as shard:
            for path in loose:
                entry = zipfile.ZipInfo(path.name, EARLIEST_DATE)
                entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a Unix file on every platform
                shard.writestr(entry, path.read_bytes())
        for path in loose:
            path.unlink()


def split_into_shards(sizes: Mapping[str, int]) -> list[list[str]]:
    """Return the frames of each shard, in the order of their names; `sizes` are bytes by frame."""
    groups: list[list[str]] = []
    total = 0
    for frame in sorted(sizes):
        total += sizes[frame]
        if not groups or begins_shard(frame) or len(groups[-1]) == MAX_FILES or total > MAX_BYTES:
            groups.append([])
            total = sizes[frame]
        groups[-1].append(frame)
    return groups


def begins_shard(frame: str) -> bool:
    """Return whether a shard begins at a frame, by its name alone: at one in `MEAN_FILES`."""
    return int.from_bytes(hashlib.sha256(frame.encode()).digest()[:8], "big") % MEAN_FILES == 0


# Read ------------------------------------------------------------------------------------------------------------


def is_packed(folder: Path) -> bool:
    """Return whether there are shards in a folder."""
    return folder.is_dir() and bool(_list(folder))


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading: the loose one at `path`, or the member ``path.name`` of a shard in ``path.parent``.

    Raises:
        OSError: there is neither, or it cannot be read.
        ValueError: the shard was not written by `pack`, or is damaged.
    """
    try:
        check_regular(path)
        return path.open("rb")
    except FileNotFoundError:
        content = _find(path)
        if content is None:
            raise
        return io.BytesIO(content)


def exists(path: Path) -> bool:
    """Return whether `open_file` would find a file, intact or broken."""
    try:
        open_file(path).close()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _find(path: Path) -> bytes | None:
    # The cached listing may be stale: it is used if it leads to the file, else read again.
    for shards in (_listed(path.parent), None):
        if shards is None:
            _listed.cache_clear()
            shards = _listed(path.parent)
        place = bisect_right(shards, path.stem)
        try:
            content = _read(path.with_name(f"{shards[place - 1]}{SUFFIX}"), path.name) if place else None
        except FileNotFoundError:
            content = None
        if content is not None:
            return content
    return None


@lru_cache(maxsize=16)
def _listed(folder: Path) -> list[str]:
    return _list(folder)


def _list(folder: Path) -> list[str]:
    """Return the names of the shards in a folder without their suffix, in order; hidden ones are incomplete."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a hundred thousand paths would take their time
    except OSError:
        return []
    return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX) and name[0] != ".")


def _read(shard: Path, name: str) -> bytes | None:
    """Return the content of a file in a shard, or None where it is not in it."""
    check_regular(shard)
    with shard.open("rb") as stream:
        status = os.fstat(stream.fileno())
        try:
            table = _directory(shard, status.st_ino, status.st_mtime_ns, status.st_size)
            place = np.searchsorted(table["name"], name.encode())
            if place == len(table) or table["name"][place] != name.encode():
                return None
            _, offset, size, checksum = table[place].item()
            stream.seek(offset)
            header = stream.read(HEADER)
            if header[:4] != HEADER_MARK:
                raise ValueError("there is no member where its directory says")
            stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
            content = stream.read(size)
            if len(content) != size or zlib.crc32(content) != checksum:
                raise ValueError("a checksum is wrong")
        except ValueError as error:
            raise ValueError(f"in {shard.name}: {error}") from error
    return content


@lru_cache(maxsize=CACHED_DIRECTORIES)
def _directory(shard: Path, inode: int, changed: int, size: int) -> np.ndarray:
    """Return the directory of a shard, by name: (n,) of name, offset of the header, size and CRC-32.

    Args:
        shard: the zip file.
        inode: with `changed` and `size`, identifies the file, so that a replaced one is read again.
        changed: time of the last change.
        size: in bytes.

    Raises:
        ValueError: it is no zip file, truncated, or not written by `pack`.
    """
    del inode, changed
    with shard.open("rb") as stream:
        _check_end(stream, size)
        try:
            entries = zipfile.ZipFile(stream).infolist()
        except Exception as error:  # zipfile raises many types for a broken archive
            raise ValueError(str(error)) from error
    position = 0
    for entry in entries:
        stored = entry.compress_type == zipfile.ZIP_STORED and entry.compress_size == entry.file_size
        if not stored or entry.flag_bits & 1 or not is_plain(entry.filename):
            raise ValueError(f"expected plain files without compression, found {entry.filename!r}")
        if entry.header_offset < position:
            raise ValueError(f"{entry.filename!r} overlaps another file")
        position = entry.header_offset + HEADER + entry.file_size
    if position > size or len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("its directory exceeds the file")
    rows = sorted((entry.filename.encode(), entry.header_offset, entry.file_size, entry.CRC) for entry in entries)
    longest = max((len(name) for name, *_ in rows), default=1)
    return np.array(rows, [("name", f"S{longest}"), ("offset", "<i8"), ("size", "<i8"), ("checksum", "<u4")])


def _check_end(stream: BinaryIO, size: int) -> None:
    """Check the end record of a shard, before memory is allocated for a directory that may be as long as the file."""
    stream.seek(max(0, size - 2 * END))
    tail = stream.read()
    end = tail[-END:]
    length, start, comment = (int.from_bytes(end[a:b], "little") for a, b in ((12, 16), (16, 20), (20, 22)))
    large = tail[-2 * END + 2 :][:4] == LARGE_MARK  # ZIP64, which could declare another directory
    if end[:4] != END_MARK or large or comment or start + length + END != size:
        raise ValueError("it is no shard, or truncated")
    if int.from_bytes(end[10:12], "little") > MAX_FILES or length > MAX_FILES * 512:  # 46 bytes and a file name each
        raise ValueError(f"expected at most {MAX_FILES} files")
