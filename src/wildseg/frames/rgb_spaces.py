"""RGB spaces of photos and video: primaries and whites, light of sRGB's values, and light under another white."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Chromaticity = tuple[float, float]  # CIE (x, y)

D65: Chromaticity = (0.3127, 0.3290)
# Of red, green and blue.
SRGB: tuple[Chromaticity, ...] = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))  # IEC 61966-2-1; those of Rec.709
ADOBE_RGB: tuple[Chromaticity, ...] = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))  # Adobe RGB (1998)
P3: tuple[Chromaticity, ...] = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))  # SMPTE EG 432-1; DCI and Display P3
REC2020: tuple[Chromaticity, ...] = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))  # ITU-R BT.2020

BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def srgb_light(values: np.ndarray) -> np.ndarray:
    """Return light in [0, 1] of sRGB's values in [0, 1] (IEC 61966-2-1, 5.2)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def xyz_of(x: float, y: float) -> np.ndarray:
    """Return the CIE XYZ of a chromaticity at Y = 1: (3,)."""
    return np.array([x / y, 1.0, (1 - x - y) / y])


def rgb_to_xyz(primaries: Sequence[Chromaticity], white: Chromaticity) -> np.ndarray:
    """Return the (3, 3) matrix from linear RGB to CIE XYZ, white at Y = 1 (SMPTE RP 177).

    Raises:
        numpy.linalg.LinAlgError: the primaries lie on one line.
    """
    columns = np.stack([xyz_of(*xy) for xy in primaries], axis=1)
    return columns * np.linalg.solve(columns, xyz_of(*white))


def adaptation(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the (3, 3) matrix by which the XYZ of one white becomes that of another (linear Bradford transform)."""
    return np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ target / (BRADFORD @ source)) @ BRADFORD
