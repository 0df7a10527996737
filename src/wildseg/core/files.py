"""Reading and writing single files: complete or not at all, and never able to run code when they are read.

Every file is written under a temporary name and renamed, so that a file that exists is complete. A file that cannot be
used raises a `DataError` of one line. Tables, images and arrays have modules of their own; what an image or an array
claims to hold is checked before memory is allocated for it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import UnidentifiedImageError

from wildseg.core.errors import DataError, SystemFailure, check_regular

# Errors of a path; any other is a failure of the system, and may be transient.
WHAT_LIES_THERE = (None, errno.ENOENT, errno.EISDIR, errno.ENOTDIR)

Opener = Callable[[Path], BinaryIO]  # what finds the content of a path; raises OSError, or ValueError if it is broken


def open_loose(path: Path) -> BinaryIO:
    """Open the loose file at `path`."""
    check_regular(path)
    return path.open("rb")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    Raises:
        OSError: what the body raises, as on a full disk; it then names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def empty_dir(folder: Path) -> Path:
    """Empty `folder`, so that it holds no outputs of an earlier run; return it.

    What is in it goes rather than the folder itself, which may be a link to a larger disk.

    Raises:
        OSError: something in it cannot be removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            try:
                shutil.rmtree(path)
            except OSError as error:
                error.filename = str(path)  # it names a file in it, and not where
                raise
        else:
            path.unlink()
    return folder


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; NaN and infinity, which JSON lacks, become null, and numpy numbers become plain ones."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(_jsonable(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, with or without a byte order mark in front, as some editors and tools write one.

    Raises:
        DataError: missing or malformed.
    """
    try:
        check_regular(path)
        raw = path.read_bytes()
        content = json.loads(raw.decode(json.detect_encoding(raw)))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a JSON file ({reason_of(error)})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def save_bytes(path: Path, content: bytes) -> None:
    """Write a file as it is."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def load_bytes(path: Path, opener: Opener = open_loose) -> bytes:
    """Read a file as it is.

    Raises:
        DataError: missing, or it cannot be read.
    """
    try:
        with opener(path) as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        raise unreadable(path, "a file", error) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hex.

    Raises:
        OSError: it is missing, or cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unreadable(path: Path, what: str, error: Exception) -> DataError:
    """Return what to raise for a file that cannot be used: its own fault, or the system's, by its number."""
    number = error.errno if isinstance(error, OSError) else None
    kind = DataError if number in WHAT_LIES_THERE else SystemFailure
    return kind(f"{path}: expected {what} ({reason_of(error)})")


def reason_of(error: Exception) -> str:
    """Return the message of an error without the path, the number and the memory address that may be in it."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _jsonable(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
