"""Whether the end of a video is missing, by what its container says of its own length.

A decoder that meets the end of a file stops, as if the recording had: a copy that was interrupted or a card that was
full looks like a shorter video. Bare streams, and recordings that nobody closed, say no length and are believed.

Sources: ISO/IEC 14496-12, 4.2 (boxes); RFC 8794, 4 and RFC 9559, 5.1 (EBML, Matroska); Microsoft's RIFF and
OpenDML AVI 1.02; CompuServe's GIF89a, 27; ISO/IEC 13818-1, 2.4.3 (transport packets).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

# Boxes at the top of a file that holds pictures; what follows another is not looked at.
BOXES = frozenset((b"ftyp", b"styp", b"sidx", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"wide", b"uuid"))
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
MARKS = {
    b"GIF8": b";",
    b"\xff\xd8": b"\xff\xd9",
}  # first and last bytes of animations, and of pictures in a row (MJPEG)
SYNC = 0x47  # the first byte of a transport packet, of 188 bytes, or 192 of which 4 stand before it


def truncation(path: Path) -> str | None:
    """Return what is missing of a video's end, as a sentence for quarantine.csv; None where nothing is known to be.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(256)
        for first, last in MARKS.items():
            if start.startswith(first):
                return None if _ends_with(stream, last) else "it is cut off: the mark at its end is missing"
        if (packet := _packet(start)) and size % packet:
            return f"it is cut off: it ends {size % packet} bytes into a packet of {packet}"
        end = _claimed_end(stream, start, size)
    return f"it is cut off: {size} of {end} bytes are there" if end > size else None


def _ends_with(stream: BinaryIO, mark: bytes) -> bool:
    stream.seek(-len(mark), 2)
    return stream.read() == mark


def _packet(start: bytes) -> int:
    """Return the length of a transport stream's packets, 0 for anything else."""
    for before, length in ((0, 188), (4, 192)):
        if len(start) > length + before and start[before] == start[length + before] == SYNC:
            return length
    return 0


def _claimed_end(stream: BinaryIO, start: bytes, size: int) -> int:
    """Return where the file ends by its own account, 0 where it gives none."""
    if start.startswith(EBML):
        return _end_of_segment(start)
    if start.startswith(b"RIFF"):
        return _end_of_lists(stream, size)
    return _end_of_boxes(stream, size) if start[4:8] in BOXES else 0


def _end_of_boxes(stream: BinaryIO, size: int) -> int:
    place = 0
    while place < size:
        stream.seek(place)
        head = stream.read(16).ljust(16, b"\0")
        length, kind, long_length = struct.unpack(">I4sQ", head)
        if kind not in BOXES or length == 0:  # 0: up to the end of the file, wherever that is
            break
        place += max(8, long_length if length == 1 else length)
    return place


def _end_of_lists(stream: BinaryIO, size: int) -> int:
    place = 0
    while place < size:
        stream.seek(place)
        kind, length = struct.unpack("<4sI", stream.read(8).ljust(8, b"\0"))
        if kind != b"RIFF" or length == 0:  # 0: nobody came back to fill it in
            break
        place += 8 + length
    return place


def _end_of_segment(start: bytes) -> int:
    """Return where the Segment ends that follows the EBML header of a Matroska file."""
    length, place = _number(start, len(EBML))
    place += length
    if start[place : place + len(SEGMENT)] != SEGMENT:
        return 0
    length, place = _number(start, place + len(SEGMENT))
    return place + length if length else 0


def _number(content: bytes, place: int) -> tuple[int, int]:
    """Return the EBML number of 1 to 8 bytes at `place`, 0 for the one that says "unknown", and the place behind it."""
    first = content[place] if place < len(content) else 0
    width = 9 - first.bit_length()  # as many bytes as the first has leading zeros, and one
    digits = content[place : place + width]
    if width > 8 or len(digits) < width:
        return 0, len(content)
    unknown = (1 << 7 * width) - 1
    value = int.from_bytes(digits, "big") & unknown
    return (0 if value == unknown else value), place + width
