"""ICC profiles for tests that the product does not make, of grey and of inks, and sRGB by formulas of its own."""

from __future__ import annotations

import itertools
import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
# B. Lindbloom: sRGB under D50, adapted by Bradford.
RGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)

# Of the four inks, what each and each mixture looks like: sRGB of an offset press, mixtures by multiplication.
INKS = np.array([[0, 158, 224], [226, 0, 122], [255, 236, 0], [70, 70, 70]]) / 255


def light(values: np.ndarray | float) -> np.ndarray:
    """Return linear light of sRGB values in [0, 1]."""
    return np.where(
        np.asarray(values) <= 0.04045, np.asarray(values) / 12.92, ((np.asarray(values) + 0.055) / 1.055) ** 2.4
    )


def levels(linear: np.ndarray) -> np.ndarray:
    """Return sRGB levels, 0 to 255, of linear light; what sRGB has not is cut off."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def xyz_matrix(primaries: list[tuple[float, float]], white: tuple[float, float] = (0.3127, 0.329)) -> np.ndarray:
    """Return (3, 3) from linear RGB to XYZ under that white (SMPTE RP 177)."""
    p = np.array([[x, y, 1 - x - y] for x, y in primaries]).T
    w = np.array([white[0], white[1], 1 - white[0] - white[1]]) / white[1]
    return p @ np.diag(np.linalg.inv(p) @ w)


def printed(inks: tuple[int, ...]) -> np.ndarray:
    """Return sRGB levels of full inks: four times 0 or 1."""
    return 255 * np.prod([INKS[n] for n in range(4) if inks[n]] or [np.ones(3)], axis=0)


def grey_profile(gamma: float) -> bytes:
    """Return a profile of grey whose light is the value to the power `gamma`."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    return _file(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(D50), b"kTRC": curve})


def cmyk_profile() -> bytes:
    """Return a profile of inks on yellowish paper that are mixed as `printed` says, relative to the paper.

    Between full and none it is interpolated in Lab.
    """
    table = b"".join(_lab8(printed(inks) / 255) for inks in itertools.product((0, 1), repeat=4))
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + 4 * identity + table + 3 * identity
    return _file(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz((0.84, 0.87, 0.66)), b"A2B0": lut})


def _lab8(srgb: np.ndarray) -> bytes:
    ratios = (RGB_TO_XYZ @ light(srgb)) / D50
    x, y, z = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return bytes(int(v) for v in np.round([(116 * y - 16) * 2.55, 500 * (x - y) + 128, 200 * (y - z) + 128]))


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _file(kind: bytes, space: bytes, between: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = bytes(4) + struct.pack(">I4s4s4s", 0x02100000, kind, space, between) + bytes(12) + b"acsp" + bytes(28)
    whole = bytes(4) + header + _xyz(D50)[8:] + bytes(48) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]
