"""Colours of HDR and wide-gamut video as sRGB, so that a frame shows the light that was recorded.

Video in Rec.709 and its kin is taken as sRGB, as players on a computer do. Other light is computed: PQ and HLG become
luminance (ITU-R BT.2100-2, tables 4 and 5), of which the reference white of 203 cd/m2 (ITU-R BT.2408-7, 2.2) is sRGB's
white; wide primaries become those of Rec.709 (the matrix of ITU-R BT.2087-0 for BT.2020); brighter light than white is
rolled off without a change of hue. libswscale's own mapping is not used: it pulls saturated colours inward also where
they need not be, 16 levels for a green leaf.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import av
import cv2
import numpy as np

from wildseg.frames.rgb_spaces import D65, P3, REC2020, SRGB, adaptation, rgb_to_xyz, srgb_light

# Codes of ITU-T H.273, which are FFmpeg's.
UNSPECIFIED = 2
PQ, HLG = 16, 18
SDR_CURVES = frozenset({1, 2, 4, 5, 6, 7, 11, 12, 13, 14, 15})
OTHER_CURVES = {8: "linear light", 9: "logarithmic, 100:1", 10: "logarithmic, 316:1", 17: "of SMPTE ST 428-1"}
BT709, BT2020 = 1, 9
BT2020_MATRIX = 9
READABLE_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})  # by libswscale
OTHER_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    14: "ICtCp",
    15: "IPT, as in Dolby Vision profile 5",
}

# Primaries and white; those that are not here are so near to Rec.709's that players take them so.
CHROMATICITIES = {
    BT709: (SRGB, D65),
    BT2020: (REC2020, D65),
    11: (P3, (0.314, 0.351)),  # DCI P3
    12: (P3, D65),  # Display P3, of telephones
}
WIDE_PRIMARIES = frozenset(CHROMATICITIES) - {BT709}

REFERENCE_WHITE = 203.0  # cd/m2
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2  # of the reference display, cd/m2 and the exponent that belongs to it
KNEE = 0.95  # of white; 249 in sRGB, up to which HDR light keeps its value

CODES = 65536  # values of a 16-bit channel


class Coding(NamedTuple):
    """How a frame's numbers stand for light: transfer curve, primaries and matrix, by the codes of H.273."""

    transfer: int
    primaries: int
    matrix: int

    @property
    def is_hdr(self) -> bool:
        """Whether the curve is PQ or HLG."""
        return self.transfer in (PQ, HLG)

    @property
    def is_wide(self) -> bool:
        """Whether light must be computed, because the numbers are not near those of sRGB."""
        return self.is_hdr or (self.transfer in SDR_CURVES and self.primaries in WIDE_PRIMARIES)

    @property
    def source_matrix(self) -> int | None:
        """Return the matrix to read the frame by where it is not the frame's own, None where that will do."""
        wide = BT2020_MATRIX if self.is_hdr or self.primaries == BT2020 else BT709
        unsaid = self.matrix == UNSPECIFIED and wide == BT2020_MATRIX
        return wide if unsaid or self.matrix not in READABLE_MATRICES else None

    @property
    def remarks(self) -> list[str]:
        """Return what a user should know of how these colours are shown; empty for ordinary video."""
        found = []
        if self.is_hdr:
            found.append(
                f"HDR video ({'PQ' if self.transfer == PQ else 'HLG'}), tone-mapped to sRGB with white at 203 nits"
            )
        elif self.transfer not in SDR_CURVES:
            curve = OTHER_CURVES.get(self.transfer, "unknown")
            found.append(
                f"colours are taken as they are stored, because its transfer curve (code {self.transfer}, {curve}) "
                "cannot be mapped to sRGB; convert it to Rec.709 first"
            )
        if self.matrix not in READABLE_MATRICES:
            name = OTHER_MATRICES.get(self.matrix, "unknown")
            found.append(
                f"colours may be wrong, because its matrix (code {self.matrix}, {name}) cannot be read; "
                "convert it to Rec.709 first"
            )
        return found


def coding_of(frame: av.VideoFrame, context: av.VideoCodecContext) -> Coding:
    """Return the coding of a frame; what it does not say is taken from what the container told its decoder."""
    pairs = (
        (frame.color_trc, context.color_trc),
        (frame.color_primaries, context.color_primaries),
        (frame.colorspace, context.colorspace),
    )
    transfer, primaries, matrix = (int(declared) if own == UNSPECIFIED else int(own) for own, declared in pairs)
    if primaries == UNSPECIFIED and (transfer in (PQ, HLG) or matrix == BT2020_MATRIX):
        primaries = BT2020  # the only ones that BT.2100 knows, and those that the matrix was made for
    return Coding(transfer, primaries, matrix)


def to_srgb(codes: np.ndarray, coding: Coding) -> np.ndarray:
    """Return (H, W, 3) uint8 sRGB of (H, W, 3) uint16 R'G'B' in 0..65535, coded as a `Coding` that is wide says."""
    light = _linear_table(coding.transfer)[codes]  # (H, W, 3) float32; 1 is white
    primaries = coding.primaries if coding.primaries in CHROMATICITIES else BT709
    if coding.transfer == HLG:
        light = _displayed(light, primaries)
    light = cv2.transform(light, to_rec709(primaries).astype(np.float32))
    if coding.is_hdr:
        light = _rolled_off(light)
    return _srgb_table()[(np.clip(light, 0, 1) * (CODES - 1) + 0.5).astype(np.uint16)]


def _displayed(scene: np.ndarray, primaries: int) -> np.ndarray:
    """Return light of HLG's reference display from light of the scene, (H, W, 3) in 0..1 (BT.2100-2, HLG OOTF)."""
    weights = rgb_to_xyz(*CHROMATICITIES[primaries])[1:2].astype(np.float32)  # of luminance
    luminance = cv2.transform(scene, weights)  # (H, W)
    gain = cv2.pow(luminance, HLG_GAMMA - 1) * (HLG_PEAK / REFERENCE_WHITE)
    return scene * gain[..., None]


def _rolled_off(light: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) light of at most 1, which is white: the brightest channel bends, the others keep their ratio."""
    brightest = cv2.max(cv2.max(light[..., 0], light[..., 1]), light[..., 2])
    bent = KNEE + (1 - KNEE) * -np.expm1(-(brightest - KNEE) / (1 - KNEE))
    return light * np.where(brightest > KNEE, bent / np.maximum(brightest, KNEE), 1).astype(np.float32)[..., None]


def to_rec709(primaries: int) -> np.ndarray:
    """Return the (3, 3) matrix from linear RGB of these primaries to that of Rec.709; white stays white (Bradford)."""
    source, target = (rgb_to_xyz(*CHROMATICITIES[code]) for code in (primaries, BT709))
    return np.linalg.inv(target) @ adaptation(source.sum(axis=1), target.sum(axis=1)) @ source


@cache
def _linear_table(transfer: int) -> np.ndarray:
    """Return (65536,) float32: light of each code, 1 for white; for HLG, light of the scene, 1 for the peak."""
    signal = np.arange(CODES) / (CODES - 1)
    if transfer == PQ:
        return (pq_light(signal) / REFERENCE_WHITE).astype(np.float32)
    if transfer == HLG:
        return hlg_scene(signal).astype(np.float32)
    # SDR is taken as sRGB on both sides, so that greys keep their value whatever the primaries.
    return srgb_light(signal).astype(np.float32)


@cache
def _srgb_table() -> np.ndarray:
    """Return (65536,) uint8: sRGB of linear light in steps of 1/65535 (IEC 61966-2-1)."""
    light = np.arange(CODES) / (CODES - 1)
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * signal).astype(np.uint8)


def pq_light(signal: np.ndarray) -> np.ndarray:
    """Return cd/m2 of a PQ signal in 0..1 (BT.2100-2, table 4, EOTF; SMPTE ST 2084)."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = signal ** (1 / m2)
    return 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def hlg_scene(signal: np.ndarray) -> np.ndarray:
    """Return light of the scene in 0..1 of an HLG signal in 0..1 (BT.2100-2, table 5, inverse OETF)."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
