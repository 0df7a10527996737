"""A piece of a picture in any of Pillow's modes as 8-bit RGB on black."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from wildseg.frames.image import composite_on_black
from wildseg.frames.photo_colour import Conversion
from wildseg.frames.read_stats import DecodeError

# Grey values of 2 and 4 bits are stretched to 8 bits when they are read, what names the transparent one is not.
STRETCHED = {"L;2": 85, "L;4": 17}

TransparentValue = int | tuple[int, ...]


def colour_key(picture: Image.Image, stored_as: str) -> TransparentValue | None:
    """Return the one grey value or colour that stands for "transparent", in the values that Pillow reads; or None.

    Args:
        picture: a loaded one.
        stored_as: how Pillow names the layout of its pixels in the file, such as ``RGB;16B``.
    """
    key = picture.info.get("transparency")
    if isinstance(key, int) and (picture.mode in ("1", "L", "I") or picture.mode.startswith("I;16")):
        return key * STRETCHED.get(stored_as, 1)
    if isinstance(key, tuple) and picture.mode == "RGB":
        # Of 16 bits Pillow reads the upper half, so that colours next to the one that was meant are taken for it, too.
        return tuple(value >> 8 for value in key) if "16" in stored_as else key
    return None


def to_rgb(part: Image.Image, converted: Conversion | None, key: TransparentValue | None) -> np.ndarray:
    """Return (h, w, 3) uint8 sRGB of a piece of a picture, black where it is transparent.

    Args:
        part: in any mode.
        converted: how its colours become sRGB; None where they are.
        key: the value or colour that stands for "transparent", where one does.

    Raises:
        DecodeError: its values have no defined white.
    """
    if part.mode == "F":
        raise DecodeError("its values are floating-point numbers, for which no white is defined")
    if part.mode == "I" or part.mode.startswith("I;16"):
        values = np.asarray(part)
        image = _of_16_bit(values, converted)
        return image if key is None else composite_on_black(image, _opaque(values, key))
    alpha = None
    if key is not None:
        alpha = _opaque(np.asarray(part.convert("L" if part.mode == "1" else part.mode)), key)
        part.info.pop("transparency")
    elif part.has_transparency_data:
        part = (part.convert("LA") if part.mode == "La" else part).convert("RGBA")  # Pillow knows no shorter way
        alpha = np.asarray(part.getchannel("A"))
    image = _converted(part, converted)
    return image if alpha is None else composite_on_black(image, alpha)


def _converted(part: Image.Image, converted: Conversion | None) -> np.ndarray:
    if converted is None:
        return np.asarray(part.convert("RGB"))
    if converted.mode == "L" and part.mode in ("RGB", "RGBA"):  # grey that was given an alpha
        part = part.getchannel(0)
    return converted.rgb(part.convert(converted.mode))


def _opaque(values: np.ndarray, key: TransparentValue) -> np.ndarray:
    """Return alpha (h, w) uint8: 0 where values, (h, w[, 3]), are the key."""
    same = values == np.asarray(key)
    return np.where(same.all(axis=2) if same.ndim == 3 else same, 0, 255).astype(np.uint8)


def _of_16_bit(values: np.ndarray, converted: Conversion | None) -> np.ndarray:
    """Return (h, w, 3) uint8 of grey values (h, w) in 0..65535."""
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise DecodeError("its values are 32-bit numbers, for which no white is defined")
    return _table(converted)[values]


@lru_cache(maxsize=2)  # it is asked for with every piece of a picture
def _table(converted: Conversion | None) -> np.ndarray:
    """Return the sRGB of each 16-bit grey, (65536, 3) uint8; without a conversion the value / 257, rounded."""
    if converted is not None and converted.mode == "L":
        return converted.greys(np.uint16)
    grey = ((np.arange(65536) + 128) // 257).astype(np.uint8)  # 257 = 65535 / 255
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[:, None])
    return _converted(ramp, converted)[grey, 0]
