"""ICC profiles that Pillow leaves in a file: those of JPEG 2000 and of BMP.

Sources: ISO/IEC 15444-1, I.5.3.3 (the box colr, inside jp2h); Microsoft's BITMAPV5HEADER.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

BOX_OF_PROFILE = (2, 3)  # methods of the box colr that bring an ICC profile, restricted or any
V5_HEADER, V5_BYTES = 14, 124
EMBEDDED = b"DEBM"  # the number 'MBED', lowest byte first


def profile(stream: IO[bytes], kind: str | None, limit: int) -> bytes | None:
    """Return the ICC profile of a JPEG 2000 or BMP file, at most `limit` + 1 bytes of it; None where there is none.

    The stream is left where it was. `kind` is Pillow's name of the format.
    """
    readers = {"JPEG2000": _of_jpeg_2000, "BMP": _of_bmp}
    if kind not in readers:
        return None
    here = stream.tell()
    try:
        return readers[kind](stream, limit)
    finally:
        stream.seek(here)


def _of_jpeg_2000(stream: IO[bytes], limit: int) -> bytes | None:
    for name, start, end in _boxes(stream, 0, None):
        if name != b"jp2h":
            continue
        for inner, place, inner_end in _boxes(stream, start, end):
            stream.seek(place)
            head = stream.read(3)
            if inner == b"colr" and len(head) == 3 and head[0] in BOX_OF_PROFILE:
                return stream.read(min(max(0, inner_end - place - 3), limit + 1))
    return None


def _boxes(stream: IO[bytes], place: int, end: int | None) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, end of the content) of each box; the pixels, and a box without length, are the last."""
    while end is None or place + 8 <= end:
        stream.seek(place)
        head = stream.read(8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or length < 8 or name == b"jp2c":
            return
        yield name, place + 8, place + length
        place += length


def _of_bmp(stream: IO[bytes], limit: int) -> bytes | None:
    stream.seek(V5_HEADER)
    header = stream.read(V5_BYTES)
    if len(header) < V5_BYTES or int.from_bytes(header[:4], "little") != V5_BYTES or header[56:60] != EMBEDDED:
        return None
    place, size = int.from_bytes(header[112:116], "little"), int.from_bytes(header[116:120], "little")
    stream.seek(V5_HEADER + place)
    return stream.read(min(size, limit + 1))
