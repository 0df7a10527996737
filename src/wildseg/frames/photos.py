"""A photo of any mode as upright 8-bit RGB, or the reason why it cannot be used."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from wildseg.frames.image import EXIF_TURNS, UPRIGHT, Turn
from wildseg.frames.tally import MAX_PIXELS, Unusable

ORIENTATION_TAG = 0x0112

# What photos are. Pillow knows dozens more, told apart by their content and not by their suffix; for PostScript it
# starts another program.
FORMATS = ("BMP", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def read_photo(path: Path) -> np.ndarray:
    """Decode a photo: (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    What is transparent becomes black, as the empty border of a rectified picture usually is; 16-bit values are
    scaled to 8 bits; of several pictures in one file the first counts.

    Raises:
        Unusable: the file is empty, broken, too large or not a picture, or its values have no defined white.
    """
    try:
        if not path.stat().st_size:
            raise Unusable("the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata nobody reads, and about sizes that are checked here
            with Image.open(path, formats=FORMATS) as picture:
                _check_size(*picture.size)
                picture.load()
                return _turn(picture).apply(_to_rgb(picture))
    except Unusable:
        raise
    except Image.DecompressionBombError as error:
        raise Unusable("it claims more pixels than a photo has") from error
    except Image.UnidentifiedImageError as error:
        raise Unusable("it is not a picture in a known format") from error
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        raise Unusable(f"it cannot be decoded ({_one_line(error)})") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Unusable(f"it claims {width}x{height} pixels, more than {MAX_PIXELS // 1_000_000} million")


def _turn(picture: Image.Image) -> Turn:
    # Asked for after load(), because the TIFF reader turns the picture itself and then drops the tag.
    try:
        return EXIF_TURNS.get(picture.getexif().get(ORIENTATION_TAG, 1), UPRIGHT)
    except Exception:  # a broken tag is no reason to lose a photo
        return UPRIGHT


def _to_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _from_16_bit(np.asarray(picture))
    if picture.mode == "F":
        raise Unusable("its values are floating-point numbers, for which no white is defined")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture)
    return np.asarray(picture.convert("RGB"))


def _from_16_bit(values: np.ndarray) -> np.ndarray:
    """Scale grey values (H, W) in 0..65535 to (H, W, 3) uint8; 257 = 65535 / 255, rounded to nearest."""
    wide = values.astype(np.int64)
    if wide.size and not 0 <= wide.min() <= wide.max() <= 65535:
        raise Unusable("its values are 32-bit numbers, for which no white is defined")
    return np.repeat(((wide + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
