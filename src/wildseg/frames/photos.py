"""A photo of any mode as upright 8-bit RGB, or the reason why it cannot be used."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from wildseg.errors import SpecialFile, check_regular
from wildseg.frames.image import EXIF_TURNS, UPRIGHT, Turn
from wildseg.frames.tally import MAX_PIXELS, Unusable

ORIENTATION_TAG = 0x0112

# What photos are. Pillow knows dozens more, told apart by their content and not by their suffix; for PostScript it
# starts another program.
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
END_OF_CODESTREAM = b"\xff\xd9"  # JPEG 2000 keeps these two bytes out of its data (ISO/IEC 15444-1, A.4.4)

# A JPEG spends at least one bit on each block of 8 x 8 pixels (ISO/IEC 10918-1, F.1.2.1): 512 pixels a byte, and more
# only where its bits are arithmetically coded.
MAX_JPEG_PIXELS_A_BYTE = 2048


def read_photo(path: Path) -> np.ndarray:
    """Decode a photo: (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    What is transparent becomes black, as the empty border of a rectified picture usually is; 16-bit values are
    scaled to 8 bits; of several pictures in one file the first counts. A flipped bit is always noticed in a PNG; the
    other formats carry no checksum, and where what is left can be decoded it is taken for the picture.

    Raises:
        Unusable: the file is empty, broken, too large or not a picture, or its values have no defined white.
    """
    try:
        check_regular(path)
        if not path.stat().st_size:
            raise Unusable("the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata nobody reads, and about sizes that are checked here
            with Image.open(path, formats=FORMATS) as picture:
                _check_size(*picture.size)
                _check_whole(path, picture)
                picture.load()
                return _turn(picture).apply(_to_rgb(picture))
    except Unusable:
        raise
    except SpecialFile as error:
        raise Unusable(str(error)) from error
    except Image.DecompressionBombError as error:
        raise Unusable("it claims more pixels than a photo has") from error
    except Image.UnidentifiedImageError as error:
        raise Unusable("it is not a picture in a known format") from error
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        raise Unusable(f"it cannot be decoded ({_one_line(error)})") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Unusable(f"it claims {width}x{height} pixels, more than {MAX_PIXELS // 1_000_000} million")


def _check_whole(path: Path, picture: Image.Image) -> None:
    """Raise Unusable where Pillow, like most decoders, would fill in what is missing or take what is wrong."""
    if picture.format == "PNG":
        with Image.open(path, formats=FORMATS) as again:  # verify() leaves a picture unfit for load()
            again.verify()  # the checksums, of which load() skips those of the pixels
    elif picture.format == "JPEG2000" and END_OF_CODESTREAM not in path.read_bytes():
        raise Unusable("it is cut off: the mark at its end is missing")
    elif picture.format in ("JPEG", "MPO"):
        size = path.stat().st_size
        if picture.width * picture.height > MAX_JPEG_PIXELS_A_BYTE * size:
            raise Unusable(f"it claims {picture.width}x{picture.height} pixels, more than its {size} bytes can hold")


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
    # The system's own words without the path, which is another on every machine.
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()) or type(error).__name__
