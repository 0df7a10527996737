"""Chunks of a PNG before its pixels that Pillow does not expose (W3C, Portable Network Graphics, 3rd edition)."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MARK = b"\x89PNG\r\n\x1a\n"
POINTLESS = 2**20  # Pillow refuses a picture for a profile that is larger than this
CICP_BYTES = 4


def cicp(stream: IO[bytes]) -> tuple[int, int] | None:
    """Return the numbers of ITU-T H.273 for primaries and tone curve that the chunk cICP holds, where there is one.

    The stream is left where it was. None also for what is no PNG.
    """
    here = stream.tell()
    try:
        stream.seek(0)
        is_png = stream.read(len(MARK)) == MARK
        for kind, start, length in _chunks(stream) if is_png else ():
            if kind == b"cICP" and length == CICP_BYTES:
                stream.seek(start + 8)
                primaries, curve, *_ = stream.read(CICP_BYTES)
                return primaries, curve
        return None
    finally:
        stream.seek(here)


def without_large_profile(path: Path, limit: int) -> tuple[io.BytesIO, bytes] | None:
    """Return the file without its ICC profile, and that, where it is so large that Pillow would refuse the picture.

    Of the profile at most `limit` + 1 bytes are unpacked. None for all other files.
    """
    with path.open("rb") as stream:
        if stream.read(len(MARK)) != MARK:
            return None
        for kind, start, length in _chunks(stream):
            if kind == b"iCCP":
                stream.seek(start + 8)
                profile = _unpacked(stream.read(length), limit)
                if len(profile) <= POINTLESS:
                    return None
                stream.seek(0)
                content = stream.read(start)
                stream.seek(start + 12 + length)
                return io.BytesIO(content + stream.read()), profile
    return None


def _chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, place, length of the content) of each chunk before the pixels."""
    place = len(MARK)
    while True:
        stream.seek(place)
        head = stream.read(8)
        kind, length = head[4:], int.from_bytes(head[:4], "big")
        if len(head) < 8 or kind in (b"IDAT", b"IEND"):
            return
        yield kind, place, length
        place += 12 + length  # length, kind and checksum


def _unpacked(content: bytes, limit: int) -> bytes:
    name, _, packed = content.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], limit + 1)
    except zlib.error:
        return b""  # as Pillow takes it
