"""Files that are wrong in ways that happen, and files that would run code if they were read carelessly."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

# A pickle, written by hand in protocol 0, that calls open(<path>, "w") when it is loaded.
TRAP = "cbuiltins\nopen\n(S'{path}'\nS'w'\ntR."


def trap(touches: Path) -> bytes:
    """Return bytes that create the file `touches` when a program unpickles them."""
    return TRAP.format(path=touches).encode()


def npy_of_objects(touches: Path) -> bytes:
    """Return a .npy file that claims to hold Python objects: a valid header, then `trap`."""
    stream = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + trap(touches)


def npz_of_objects(path: Path, touches: Path) -> None:
    """Write an archive whose two arrays are `npy_of_objects`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("classes", "maps"):
            archive.writestr(f"{name}.npy", npy_of_objects(touches))


def cut(path: Path, share: float = 0.5) -> None:
    """Keep only the first `share` of a file, as when a disk was full or a copy was stopped."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
