"""Reading and writing single files: whole or not at all, and never able to run code when they are read.

Every file is written under a temporary name and renamed, so that a file that exists is whole. Whatever a person can
break in CSV, JSON, arrays and images comes back as a `DataError` of one line, and what a file claims to hold is checked
before memory is taken for it.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from wildseg.core.classes import palette
from wildseg.core.errors import DataError, SystemFailure, check_regular

# What Pillow raises for a file that is missing, truncated, garbled, or claims to have billions of pixels.
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)

# Above these a file is refused by its header alone: decoded, it would take gigabytes (a "decompression bomb").
MAX_PIXELS = 150_000_000  # the same as for photos, so that every frame that was taken can be read again
MAX_ARRAY = 2**29  # bytes; maps of 254 classes on a grid of 1000x1000 cells
NUMBERS = "biuf"  # kinds of dtype that are written here: bool, integers, floats; no texts, records or objects

# Numbers of errors that tell what lies at a path; any other is the system's doing, and may be gone the next time.
WHAT_LIES_THERE = (None, errno.ENOENT, errno.EISDIR, errno.ENOTDIR)

Opener = Callable[[Path], BinaryIO]  # what finds the content of a path; raises OSError, or ValueError if it is broken


def open_loose(path: Path) -> BinaryIO:
    """Open the file that lies at `path`."""
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
    """Empty `folder`, so that nothing of an earlier run is taken for this one's; return it.

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
        raise DataError(f"{path}: expected a JSON file ({_reason(error)})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def save_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], *, quote_all: bool = False) -> None:
    """Write a CSV file with a header line, UTF-8, line ends as on Unix."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
        writer.writerow(header)
        writer.writerows(rows)


def save_plotted_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file for DVC's plots, whose pages hold every cell inside of a script, as it is.

    Angle brackets, by which a name could end that script and begin another, become single quotation marks (‹ and ›).
    """
    safe = str.maketrans("<>", "‹›")
    save_table(path, header, ([c.translate(safe) if isinstance(c, str) else c for c in row] for row in rows))


def load_table(path: Path, header: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file that has at least the columns of `header`.

    Raises:
        DataError: missing file, missing column, or a line of another length.
    """
    rows = []
    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = list(reader.fieldnames or [])
            if missing := [name for name in header if name not in columns]:
                raise DataError(f"{path}: expected the columns {', '.join(header)}; {missing[0]!r} is missing"
                                f"{_other_separator(columns)}")  # fmt: skip
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(f"{path}, line {reader.line_num}: expected {len(columns)} columns; "
                                    "quote a cell that holds commas")  # fmt: skip
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a CSV file ({_reason(error)})") from error
    return rows


def _other_separator(columns: Sequence[str]) -> str:
    names = {";": "semicolons", "\t": "tabs"}
    used = [name for mark, name in names.items() if len(columns) == 1 and mark in columns[0]]
    return f"; found {used[0]} between cells, as a spreadsheet may have saved it" if used else ""


def save_label_image(path: Path, ids: np.ndarray) -> None:
    """Write (H, W) uint8 ids as `encode_label_image` has them."""
    save_bytes(path, encode_label_image(ids))


def encode_label_image(ids: np.ndarray) -> bytes:
    """Return (H, W) uint8 ids as a palette PNG, so that a viewer shows the classes in colour."""
    image = Image.fromarray(ids)
    image.putpalette(palette().tobytes())
    return encode_png(image)


def encode_png(image: Image.Image) -> bytes:
    """Return a picture of few levels, such as ids or a confidence, as PNG."""
    # Along a row they hardly change: looking for runs alone takes half of zlib's usual time, and a little less room.
    # Put together in memory: given a file, Pillow writes it in many small pieces, which takes half as long again.
    content = io.BytesIO()
    image.save(content, "PNG", compress_type=zlib.Z_RLE)
    return content.getvalue()


def load_label_image(path: Path, opener: Opener = open_loose) -> np.ndarray:
    """Read (H, W) uint8 ids from a palette or 8-bit grey PNG.

    Raises:
        DataError: missing, broken, too large, or an image in colour.
    """
    try:
        with opener(path) as stream, Image.open(stream, formats=("PNG",)) as image:
            check_size(image)
            if image.mode not in ("P", "L"):
                raise DataError(f"{path}: expected a palette or 8-bit grey image of class ids, found mode {image.mode}")
            return np.asarray(image).copy()
    except BROKEN_IMAGE as error:
        raise unreadable(path, "an image of class ids", error) from error


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


def load_image(path: Path, opener: Opener = open_loose) -> np.ndarray:
    """Read a JPEG: (H, W, 3) uint8 RGB.

    Raises:
        DataError: missing, broken or too large.
    """
    try:
        with opener(path) as stream, Image.open(stream, formats=("JPEG",)) as image:
            check_size(image)
            return np.asarray(image.convert("RGB"))
    except BROKEN_IMAGE as error:
        raise unreadable(path, "an image", error) from error


def load_arrays(path: Path, *names: str, opener: Opener = open_loose) -> list[np.ndarray]:
    """Read the arrays `names` of an .npz file, numbers only.

    Raises:
        DataError: missing, broken, without one of them, or one that claims more than `MAX_ARRAY` bytes.
    """
    try:
        with opener(path) as stream, zipfile.ZipFile(stream) as archive:
            return [_array(archive, f"{name}.npy") for name in names]
    except Exception as error:  # zipfile, zlib and numpy each raise their own kinds for a broken archive
        raise unreadable(path, f"the arrays {', '.join(names)}", error) from error


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    # The archive says how long a member is, and the member how large its array is: believed only if they agree.
    claimed = archive.getinfo(member).file_size
    if claimed > MAX_ARRAY:
        raise ValueError(f"{member} claims {claimed:,} bytes, more than {MAX_ARRAY:,}")
    stream = io.BytesIO(archive.read(member))
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{member} is of a version that is not written here")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in NUMBERS or dtype.itemsize < 1:
        raise ValueError(f"{member} holds {str(dtype)[:80]}, and only numbers are read")
    # Beside a side of 0 any other costs nothing in bytes, but not in the loops of whoever reads it.
    sane = all(0 <= side <= MAX_ARRAY for side in shape)
    if not sane or math.prod(shape) * dtype.itemsize != len(stream.getbuffer()) - stream.tell():
        raise ValueError(f"{member} claims {str(shape)[:80]} of {dtype}, which is not what it holds")
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def check_size(image: Image.Image) -> None:
    """Refuse a picture by its header: decoded, it would take gigabytes.

    Raises:
        ValueError: it claims more than `MAX_PIXELS`.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"it claims {width}x{height} pixels, more than {MAX_PIXELS // 1_000_000} million")


def unreadable(path: Path, what: str, error: Exception) -> DataError:
    """Return what to raise for a file that cannot be used: its own fault, or the system's, by its number."""
    number = error.errno if isinstance(error, OSError) else None
    kind = DataError if number in WHAT_LIES_THERE else SystemFailure
    return kind(f"{path}: expected {what} ({_reason(error)})")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture"  # Pillow's words hold an address in memory, another one each time
    # Without the number and the path that Python puts around the system's own words.
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
