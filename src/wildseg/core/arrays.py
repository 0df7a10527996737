"""Arrays of numbers in .npz files, refused by their header where they are too large or hold anything else."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from wildseg.core.files import Opener, open_loose, unreadable

# Larger arrays are rejected by their header: decoded, they would need gigabytes (a "decompression bomb").
MAX_ARRAY = 2**29  # bytes; maps of 254 classes on a grid of 1000x1000 cells
NUMBERS = "biuf"  # kinds of dtype that are written here: bool, integers, floats; no texts, records or objects


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


def array_names(path: Path, opener: Opener = open_loose) -> list[str]:
    """Return the names of the arrays in an .npz file.

    Raises:
        DataError: missing or broken.
    """
    try:
        with opener(path) as stream, zipfile.ZipFile(stream) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # as above
        raise unreadable(path, "an .npz file of arrays", error) from error


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    # The archive states the length of a member, and the member the shape of its array: both must agree.
    claimed = archive.getinfo(member).file_size
    if claimed > MAX_ARRAY:
        raise ValueError(f"{member} claims {claimed:,} bytes, more than {MAX_ARRAY:,}")
    stream = io.BytesIO(archive.read(member))
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{member} is of a version that is not written here")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in NUMBERS or dtype.itemsize < 1:
        raise ValueError(f"{member} holds {str(dtype)[:80]}, and only numbers are read")
    # With a side of 0, another side needs no memory, but time in the loops of a caller.
    sane = all(0 <= side <= MAX_ARRAY for side in shape)
    if not sane or math.prod(shape) * dtype.itemsize != len(stream.getbuffer()) - stream.tell():
        raise ValueError(f"{member} claims {str(shape)[:80]} of {dtype}, which is not what it holds")
    stream.seek(0)
    return np.load(stream, allow_pickle=False)
