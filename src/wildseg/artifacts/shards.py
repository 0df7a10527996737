"""Shards: the many small files of a folder as a few large ones, because DVC slows down badly on many small files.

A shard is a zip file without compression of about a thousand files, named after the first frame in it. Its bytes depend
on the names and contents of these files and on nothing else. Readers take a file where it lies loose, or else out of
the shard that covers its name; they keep no file open, so that they may be forked, spawned and copied at will.

Where a shard begins depends on names alone: at each frame whose name hashes to 0 modulo `MEAN_FILES`. A frame added
or removed therefore changes the one shard it belongs to, not all that come after it, and `dvc push` sends few bytes: a
new video changes the shard into which its name falls and adds its own. Counting to a thousand would move every
boundary behind the first new frame. Frames added here and there over the whole set do change every shard.
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
MAX_FILES = 2048  # files in a shard, at most: one in seven ends here and not at a name
MAX_BYTES = 2**31  # so that neither a reader nor unzip needs the format's extension for large files

CACHED_DIRECTORIES = 2048  # of shards, kept in memory by one process: some 40 kB each, for two million frames
END, END_MARK = 22, b"PK\5\6"  # the last bytes of a zip file, and how they begin
LARGE_MARK = b"PK\6\7"  # what stands before them, 20 bytes, in a zip file with the extension for large files
HEADER, HEADER_MARK = 30, b"PK\3\4"  # the same of what stands before a file in it
EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)  # that a zip file can say


# Write -----------------------------------------------------------------------------------------------------------


def pack(folder: Path, frames: Iterable[str], suffix: str) -> None:
    """Put the loose files ``<frame><suffix>`` of a folder into shards; each goes when its shard is in its place.

    Raises:
        OSError: a file is missing, or the disk is full; what is not in a shard is still loose.
    """
    sizes = {frame: (folder / f"{frame}{suffix}").stat().st_size for frame in frames}
    for group in split_into_shards(sizes):
        loose = [folder / f"{frame}{suffix}" for frame in group]
        with atomic(folder / f"{group[0]}{SUFFIX}") as temporary, zipfile.ZipFile(temporary, "w") as shard:
            for path in loose:
                entry = zipfile.ZipInfo(path.name, EARLIEST_DATE)
                entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a file of Unix, wherever it is written
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
    """Say whether a shard begins at a frame wherever it stands: one name in `MEAN_FILES` does."""
    return int.from_bytes(hashlib.sha256(frame.encode()).digest()[:8], "big") % MEAN_FILES == 0


# Read ------------------------------------------------------------------------------------------------------------


def is_packed(folder: Path) -> bool:
    """Say whether there are shards in a folder."""
    return folder.is_dir() and bool(_list(folder))


def open_file(path: Path) -> BinaryIO:
    """Open a file to be read: the loose one at `path`, or ``path.name`` out of a shard in ``path.parent``.

    Raises:
        OSError: there is neither, or it cannot be read.
        ValueError: the shard is none that was written here, or damaged.
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
    """Say whether `open_file` would find something, whole or broken."""
    try:
        open_file(path).close()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _find(path: Path) -> bytes | None:
    # What is remembered of the folder may be out of date: believed when it leads to the file, else read once more.
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
    """Return the names of the shards in a folder without their suffix, in order; hidden ones were never finished."""
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
                raise ValueError("nothing stands where its directory says")
            stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
            content = stream.read(size)
            if len(content) != size or zlib.crc32(content) != checksum:
                raise ValueError("it does not have its checksum")
        except ValueError as error:
            raise ValueError(f"in {shard.name}: {error}") from error
    return content


@lru_cache(maxsize=CACHED_DIRECTORIES)
def _directory(shard: Path, inode: int, changed: int, size: int) -> np.ndarray:
    """Return what is where in a shard, by name: (n,) of name, offset of its header, size and CRC-32.

    Args:
        shard: the zip file.
        inode: this and what follows tell the file from another of the same name, which is read anew.
        changed: when it was changed last.
        size: in bytes.

    Raises:
        ValueError: it is no zip file, cut off, or not of the kind that is written here.
    """
    del inode, changed
    with shard.open("rb") as stream:
        _check_end(stream, size)
        try:
            entries = zipfile.ZipFile(stream).infolist()
        except Exception as error:  # zipfile raises many kinds for a broken archive
            raise ValueError(str(error)) from error
    position = 0
    for entry in entries:
        stored = entry.compress_type == zipfile.ZIP_STORED and entry.compress_size == entry.file_size
        if not stored or entry.flag_bits & 1 or not is_plain(entry.filename):
            raise ValueError(f"expected plain files without compression, found {entry.filename!r}")
        if entry.header_offset < position:
            raise ValueError(f"{entry.filename!r} lies over another file")
        position = entry.header_offset + HEADER + entry.file_size
    if position > size or len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("its directory claims more than there is")
    rows = sorted((entry.filename.encode(), entry.header_offset, entry.file_size, entry.CRC) for entry in entries)
    longest = max((len(name) for name, *_ in rows), default=1)
    return np.array(rows, [("name", f"S{longest}"), ("offset", "<i8"), ("size", "<i8"), ("checksum", "<u4")])


def _check_end(stream: BinaryIO, size: int) -> None:
    """Check the last bytes of a shard, before memory is taken for a directory that may be as long as the file."""
    stream.seek(max(0, size - 2 * END))
    tail = stream.read()
    end = tail[-END:]
    length, start, comment = (int.from_bytes(end[a:b], "little") for a, b in ((12, 16), (16, 20), (20, 22)))
    large = tail[-2 * END + 2 :][:4] == LARGE_MARK  # the extension, which could claim another directory
    if end[:4] != END_MARK or large or comment or start + length + END != size:
        raise ValueError("it is no shard, or cut off")
    if int.from_bytes(end[10:12], "little") > MAX_FILES or length > MAX_FILES * 512:  # 46 bytes and a file's name each
        raise ValueError(f"expected at most {MAX_FILES} files")
