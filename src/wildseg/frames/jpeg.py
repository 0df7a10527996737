"""A JPEG without what does not belong to its pixels: the same picture to the last bit, and nothing else.

A photo carries where it was taken, by which camera, a small copy of itself, and now and then a film after its end. What
a decoder needs is kept as it is, which spares the loss of encoding it again (ISO/IEC 10918-1, annex B; JFIF 1.02;
Adobe's technical note 5116 for APP14, which names the colour transform).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SOI, EOI, SOS, DRI, DQT, DHT = 0xD8, 0xD9, 0xDA, 0xDD, 0xDB, 0xC4
APP0, APP14, APP15, COM = 0xE0, 0xEE, 0xEF, 0xFE
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive, all of Huffman's code; others few programs can read
OTHERS = (DQT, DHT, DRI, SOS, COM)
JFIF = b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0"  # no resolution, no small copy
ADOBE_BYTES = 12
MAX_SCANS = 64  # a progressive picture has ten or so; each of them costs a pass over the whole of it
# In the coded pixels, ff is followed by 00, or by d0 to d7, the marks at which a decoder restarts.
END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def strip_metadata(content: bytes) -> bytes | None:
    """Return a JPEG of three channels of 8 bits that holds the same coded pixels as `content`, and no more.

    None for what is not plain enough: grey and CMYK pictures, arithmetic codes, files that do not end as they should.
    """
    kept = [b"\xff\xd8"]
    frames = scans = 0
    try:
        for marker, body, pixels in _segments(content):
            if marker == EOI:
                return b"".join([*kept, b"\xff\xd9"]) if frames == 1 and scans else None
            if marker in FRAMES:
                frames += 1
                precision, channels = body[0], body[5]
                plain = precision == 8 and channels == 3 and body[1:3] != b"\0\0"
            else:
                plain = marker in OTHERS or APP0 <= marker <= APP15
            scans += marker == SOS
            if not plain or frames > 1 or scans > MAX_SCANS:
                return None
            kept += _kept(marker, body, pixels)
    except IndexError:  # it ends within a segment
        pass
    return None


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (marker, body, coded pixels that follow) up to the end of the picture; raises IndexError past the file."""
    if content[:2] != b"\xff\xd8":
        return
    place = 2
    while True:
        if content[place] != 0xFF:
            return
        while content[place] == 0xFF:  # any number of them may stand before a marker
            place += 1
        marker, place = content[place], place + 1
        if marker == EOI:
            yield marker, b"", b""
            return
        length = content[place] << 8 | content[place + 1]
        end = place + length
        if length < 2 or end > len(content):
            return
        body, place = content[place + 2 : end], end
        if marker == SOS:
            found = END_OF_SCAN.search(content, end)
            if not found:
                return
            place = found.start()
        yield marker, body, content[end:place]


def _kept(marker: int, body: bytes, pixels: bytes) -> list[bytes]:
    """Return what is left of a segment; libjpeg's own tests say what APP0 and APP14 tell of the colours."""
    if marker == APP0 and body.startswith(JFIF[:5]) and len(body) >= len(JFIF):
        body = JFIF
    elif marker == APP14 and body.startswith(b"Adobe") and len(body) >= ADOBE_BYTES:
        body = body[:ADOBE_BYTES]
    elif marker >= APP0:
        return []
    return [bytes((0xFF, marker)), (len(body) + 2).to_bytes(2, "big"), body, pixels]
