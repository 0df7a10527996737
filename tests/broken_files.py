"""Files that are wrong in ways that happen, and files that would run code if they were read carelessly."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
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
    objects = npy_of_objects(touches)
    path.write_bytes(_zip({"classes.npy": objects, "maps.npy": objects}))


def torch_checkpoint(touches: Path) -> bytes:
    """Return a checkpoint as torch.save writes it, whose pickle is `trap`."""
    return _zip({"archive/data.pkl": trap(touches), "archive/version": b"3\n", "archive/byteorder": b"little"})


def yaml_of_objects(touches: Path) -> bytes:
    """Return YAML whose tag asks for a call of open(<path>, "w")."""
    return f"seed: !!python/object/apply:builtins.open [{touches}, w]\n".encode()


def postscript(touches: Path) -> bytes:
    """Return a picture that is a program: PostScript that opens a file for writing."""
    return f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n({touches}) (w) file\n%%EOF\n".encode()


def png_header(width: int, height: int, mode: int = 0) -> bytes:
    """Return the beginning of a PNG that claims a size; mode 0 is grey, 2 is colour, 3 has a palette."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3)) if mode == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + chunk(b"IDAT", zlib.compress(bytes(1000)))


def jpeg_header(width: int, height: int) -> bytes:
    """Return the beginning of a JPEG that claims a size of at most 65535x65535."""
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xda\x00\x08\x01\x01\0\0?\0"


def npy_that_claims(shape: tuple[int, ...]) -> bytes:
    """Return a .npy file of a few bytes whose header claims float16 numbers of a shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(100)


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def cut(path: Path, share: float = 0.5) -> None:
    """Keep only the first `share` of a file, as when a disk was full or a copy was stopped."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
