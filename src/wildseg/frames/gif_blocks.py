"""Whether the blocks of a GIF follow one another up to its end.

A GIF has no times but the delay of each picture, so that pictures which are lost leave no gap, and FFmpeg looks for the
next picture where blocks are broken, without an error.

Source: CompuServe, Graphics Interchange Format 89a, 17 to 27 and appendix A.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

PICTURE, EXTENSION, TRAILER = b",", b"!", b";"
CONTROL = b"!\xf9\x04"  # the start of a Graphic Control Extension, of which animations have one a picture
CHUNK = 1 << 20


class Broken(NamedTuple):
    """The place of the first byte that cannot be the start of a block, and about how many pictures the file holds."""

    place: int
    pictures: int


def broken_blocks(path: Path) -> Broken | None:
    """Return where the blocks of a GIF are broken; None for one that is whole, and for any other file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(13)
        if not head.startswith(b"GIF8") or len(head) < 13:
            return None
        stream.seek(_table(head[10]), 1)
        while (kind := stream.read(1)) != TRAILER:
            if kind == PICTURE:
                packed = stream.read(9)
                stream.seek(_table(packed[8]) + 1 if len(packed) == 9 else 0, 1)  # and the size of LZW's first codes
            elif kind == EXTENSION:
                stream.seek(1, 1)
            elif kind == b"\0":
                continue  # padding, which some programs write between blocks
            else:
                return Broken(stream.tell() - len(kind), _pictures(stream))
            while size := stream.read(1):
                if size == b"\0":
                    break
                stream.seek(size[0], 1)
    return None


def _table(packed: int) -> int:
    """Return the bytes of the colour table that this byte of flags tells of."""
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _pictures(stream: BinaryIO) -> int:
    """Count what looks like the start of a picture, anywhere."""
    stream.seek(0)
    count, before = 0, b""
    while chunk := stream.read(CHUNK):
        joined = before + chunk
        count += joined.count(CONTROL)
        before = joined[-(len(CONTROL) - 1) :]
    return count
