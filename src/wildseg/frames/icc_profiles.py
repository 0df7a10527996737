"""ICC profiles of RGB spaces that pictures name without embedding one: made from primaries, white and tone curve.

A "three-component matrix-based" profile of version 2 (ICC.1:2001-04, 6.3.1.2): three colorants, adapted to the white
D50 by the linear Bradford transform, and a tone curve for all three channels.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from wildseg.frames.rgb_spaces import BRADFORD, Chromaticity, adaptation, rgb_to_xyz, srgb_light, xyz_of

ADOBE_GAMMA = 563 / 256  # Adobe RGB (1998) Color Image Encoding, 4.3.1.2
D50_XYZ = np.array([0.9642, 1.0, 0.8249])
STEPS = 4096  # of a tone curve that is no plain power


def matrix_profile(primaries: Sequence[Chromaticity], white: Chromaticity, gamma: float | None) -> bytes:
    """Return the bytes of an ICC profile.

    Args:
        primaries: CIE (x, y) of red, green and blue.
        white: CIE (x, y) of the white.
        gamma: light is the value to the power of this, 1/256 to 255; None is the curve of sRGB.

    Raises:
        ValueError: the numbers are those of no colour space.
    """
    colorants = _adapted(primaries, white)
    curve = _curve(gamma)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 8) + b"wildseg\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz(D50_XYZ),
        b"rXYZ": _xyz(colorants[:, 0]),
        b"gXYZ": _xyz(colorants[:, 1]),
        b"bXYZ": _xyz(colorants[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    return _file(tags)


def _adapted(primaries: Sequence[Chromaticity], white: Chromaticity) -> np.ndarray:
    """Return (3, 3): columns are the XYZ of red, green and blue under D50, where their sum is D50."""
    if min(white[1], *(y for _, y in primaries)) <= 0:
        raise ValueError("a chromaticity without light")
    try:
        colorants = rgb_to_xyz(primaries, white)
    except np.linalg.LinAlgError as error:
        raise ValueError("primaries on one line") from error
    if np.any(BRADFORD @ xyz_of(*white) <= 0) or np.any(np.abs(colorants) > 100):
        raise ValueError("primaries that make no white")
    return adaptation(xyz_of(*white), D50_XYZ) @ colorants


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        if not 1 / 256 <= gamma < 256:
            raise ValueError("a tone curve that no picture has")
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    table = np.round(srgb_light(np.linspace(0, 1, STEPS)) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", STEPS) + table.tobytes()


def _file(tags: dict[bytes, bytes]) -> bytes:
    """Lay out a profile: header of 128 bytes, table of tags, their contents at multiples of four."""
    place = 128 + 4 + 12 * len(tags)
    table, contents, places = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    for name, content in tags.items():
        if content not in places:  # equal ones are stored once
            places[content] = place + len(contents)
            contents += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, places[content], len(content))
    header = struct.pack(">I4sI4s4s4s", place + len(contents), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + _xyz(D50_XYZ)[8:]
    return header.ljust(128, b"\0") + table + contents
