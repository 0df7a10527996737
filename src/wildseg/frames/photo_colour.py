"""The colours of a photo as sRGB, converted by LittleCMS from the colour space that the file declares.

What counts is, in this order: an embedded ICC profile; a PNG's own chunks (cICP, sRGB, cHRM with gAMA); EXIF, in which
cameras name Adobe RGB without embedding it (DCF 2.0: interoperability index "R03"). Without any of them, colours are
those of sRGB. Rendering is relative colorimetric with black point compensation, as photo editors do by default: white
stays white, black becomes black, and a colour that sRGB has not is cut to the nearest one on its border.

A profile that is broken, or one for other pictures than this, is no reason to lose a photo: it is taken as sRGB, and
said. One that is sRGB in effect changes no byte.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from wildseg.frames.icc_profiles import ADOBE_GAMMA, matrix_profile
from wildseg.frames.rgb_spaces import ADOBE_RGB, D65, P3, REC2020, SRGB

EXIF, INTEROPERABILITY = 0x8769, 0xA005
COLOR_SPACE, INTEROPERABILITY_INDEX = 0xA001, 0x0001
MAX_PROFILE = 16 * 2**20  # bytes; the largest that printers come with have 10 million

GREY_MODES = frozenset(("1", "L", "LA", "La", "I"))
# Of grey, tables are made once, and exactly: LittleCMS's own short cut is 10 levels off in the shadows of linear grey.
EXACT = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE
# What a profile of each colour space is for, as the mode in which its values are handed to LittleCMS.
SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
# Of cICP (ITU-T H.273): primaries, and the tone curve as a power; None is sRGB's, which stands for Rec. 709's, too.
CICP_PRIMARIES = {1: SRGB, 9: REC2020, 12: P3}
CICP_CURVES: dict[int, float | None] = {1: None, 4: 2.2, 6: None, 8: 1.0, 13: None, 14: None, 15: None}


class ProfileError(Exception):
    """Declared colours of a photo that are invalid or not supported; the reason is a short clause."""


@dataclass(frozen=True)
class Conversion:
    """Turns pictures of one mode into sRGB; `mode` is L, RGB or CMYK."""

    mode: str
    profile: bytes

    def rgb(self, part: Image.Image) -> np.ndarray:
        """Return a picture of `mode` as (h, w, 3) uint8."""
        if self.mode == "L":
            return self.greys(np.uint8)[np.asarray(part)]
        return np.asarray(_transform(self.profile, self.mode).apply(part))

    def greys(self, kind: type[np.uint8] | type[np.uint16]) -> np.ndarray:
        """Return the sRGB of each grey value of 8 or 16 bits, of which L has one: (256 or 65536, 3) uint8."""
        return _greys(self.profile, np.dtype(kind).itemsize)


def conversion(
    picture: Image.Image, embedded: bytes | None = None, cicp: tuple[int, int] | None = None
) -> Conversion | None:
    """Return how a picture becomes sRGB; None where its values are sRGB already.

    Args:
        picture: any that Pillow loaded.
        embedded: its ICC profile where Pillow did not read it.
        cicp: primaries and tone curve of a PNG's chunk of that name, which Pillow does not read.

    Raises:
        ProfileError: the declared colours are invalid; the caller takes them as sRGB.
    """
    profile = embedded or (_by_cicp(*cicp) if cicp else _profile(picture))
    if profile is None:
        return None
    mode = _mode_for(profile, picture.mode)
    return None if _is_srgb(profile, mode) else Conversion(mode, profile)


def _profile(picture: Image.Image) -> bytes | None:
    if "icc_profile" in picture.info:
        profile = picture.info["icc_profile"]
        if not isinstance(profile, bytes) or not profile:  # None: parts of it are missing
            raise ProfileError("it is incomplete")
        return profile
    if "srgb" in picture.info:
        return None
    gamma, xy = picture.info.get("gamma"), picture.info.get("chromaticity")
    if picture.format == "PNG" and (gamma or xy):
        return _by_gamma(gamma, xy)
    return matrix_profile(ADOBE_RGB, D65, ADOBE_GAMMA) if _is_adobe_rgb(picture) else None


def _by_cicp(primaries: int, curve: int) -> bytes:
    if primaries not in CICP_PRIMARIES or curve not in CICP_CURVES:
        raise ProfileError(f"cICP {primaries}/{curve} is not converted")
    return matrix_profile(CICP_PRIMARIES[primaries], D65, CICP_CURVES[curve])


def _by_gamma(gamma: float | None, xy: tuple[float, ...] | None) -> bytes:
    white, *primaries = [(xy[n], xy[n + 1]) for n in (0, 2, 4, 6)] if xy else [D65, *SRGB]
    # 1/2.2 beside sRGB's primaries is how sRGB is written for those who do not know its own chunk (PNG, 11.3.2.5).
    is_srgb = np.allclose([white, *primaries], [D65, *SRGB], atol=0.002) and abs((gamma or 0) - 1 / 2.2) < 0.005
    try:
        return matrix_profile(primaries, white, None if is_srgb or not gamma else 1 / gamma)
    except ValueError as error:
        raise ProfileError(f"gAMA and cHRM name {error}") from error


def _is_adobe_rgb(picture: Image.Image) -> bool:
    try:
        exif = picture.getexif()
        space = exif.get_ifd(EXIF).get(COLOR_SPACE)
        index = str(exif.get_ifd(INTEROPERABILITY).get(INTEROPERABILITY_INDEX, "")).rstrip("\0 ")
    except Exception:  # a broken tag is no reason to lose a photo
        return False
    # 2 is in no standard, but some cameras write it; 1 is sRGB whatever the index says.
    return space == 2 or (index == "R03" and space != 1)


def _mode_for(profile: bytes, mode: str) -> str:
    """Return the mode in which a picture of `mode` is handed to a profile; raises ProfileError."""
    if len(profile) > MAX_PROFILE:
        raise ProfileError(f"it takes {len(profile):,} bytes")
    _opened(profile)
    space = profile[16:20].decode("latin-1").strip()  # ICC.1:2001-04, 6.1.7
    is_grey = mode in GREY_MODES or mode.startswith("I;16")
    fits = {"GRAY": is_grey, "RGB": mode != "CMYK", "CMYK": mode == "CMYK"}  # grey ones may carry one of colours
    if not fits.get(space, False):
        raise ProfileError(f"it is one for {space} and the picture is {'grey' if is_grey else mode}")
    return SPACES[space]


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except Exception as error:
        raise ProfileError("it cannot be read") from error


@lru_cache(maxsize=8)  # all photos of a camera have the same
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    try:
        return ImageCms.ImageCmsTransform(
            _opened(profile),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=EXACT if mode in ("L", "I;16") else ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ProfileError:
        raise
    except Exception as error:
        raise ProfileError("it is broken") from error


@lru_cache(maxsize=4)
def _greys(profile: bytes, size: int) -> np.ndarray:
    values = np.arange(256**size, dtype=f"u{size}").reshape(256, -1)
    return np.asarray(_transform(profile, "L" if size == 1 else "I;16").apply(Image.fromarray(values))).reshape(-1, 3)


@lru_cache(maxsize=8)
def _is_srgb(profile: bytes, mode: str) -> bool:
    """Return whether a profile changes no colour by more than a level; raises ProfileError for an inverted one."""
    values = _samples(mode)
    found = np.asarray(_transform(profile, mode).apply(Image.fromarray(values, mode)))
    black, white = found[0, 0].astype(int), found[-1, 0].astype(int)
    if white.min() < 128 or black.max() > 127:
        raise ProfileError("its white is dark or its black is bright")
    if mode == "CMYK":
        return False
    return bool(np.abs(found.astype(int) - values.reshape(len(values), 1, -1)).max() <= 1)


def _samples(mode: str) -> np.ndarray:
    """Return (N, 1[, bands]) uint8 colours of a mode: all greys, and of RGB a grid; black first and white last."""
    if mode == "CMYK":
        return np.array([[[255] * 4], [[0] * 4]], np.uint8)
    greys = np.arange(256, dtype=np.uint8)[:, None]
    if mode == "L":
        return greys
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    return np.concatenate([np.repeat(greys[:-1, :, None], 3, axis=2), grid])
