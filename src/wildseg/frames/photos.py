"""A photo of any mode as upright 8-bit RGB, or the reason why it cannot be used."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from wildseg.core.errors import SpecialFile, check_regular
from wildseg.frames import embedded_icc
from wildseg.frames.image import EXIF_ORIENTATIONS, UPRIGHT, Orientation
from wildseg.frames.photo_colour import MAX_PROFILE, ProfileError, conversion
from wildseg.frames.pixel_format import colour_key, to_rgb
from wildseg.frames.png import cicp, without_large_profile
from wildseg.frames.read_stats import MAX_PIXELS, DecodeError, reason_of

ORIENTATION_TAG = 0x0112
PHOTOMETRIC_TAG, WHITE_IS_ZERO = 262, 0  # TIFF 6.0, section 8

# What photos are. Pillow knows dozens more, told apart by their content and not by their suffix; for PostScript it
# starts another program.
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
END_OF_CODESTREAM = b"\xff\xd9"  # JPEG 2000 keeps these two bytes out of its data (ISO/IEC 15444-1, A.4.4)

# A JPEG spends at least one bit on each block of 8 x 8 pixels (ISO/IEC 10918-1, F.1.2.1): 512 pixels a byte, and more
# only where its bits are arithmetically coded.
MAX_JPEG_PIXELS_A_BYTE = 2048

STRIPE = 2**18  # pixels that are converted at a time


class Photo(NamedTuple):
    """A decoded photo; `remark` is what a person should know of how it was read, as a clause, mostly None."""

    pixels: np.ndarray
    remark: str | None = None


def read_photo(path: Path) -> np.ndarray:
    """Decode a photo: (H, W, 3) uint8 RGB. See `decode_photo`."""
    return decode_photo(path).pixels


def decode_photo(path: Path) -> Photo:
    """Decode a photo: (H, W, 3) uint8 sRGB, turned upright by its EXIF orientation.

    Colours become sRGB by what the file says of them (`wildseg.frames.photo_colour`); what is transparent becomes black
    (`wildseg.frames.image.composite_on_black`); values of 16 bits are scaled to 8, of grey pictures after colour
    conversion; of several pictures in one file the first counts. A flipped bit is always noticed in a PNG; the other
    formats carry no checksum, and where what is left can be decoded it is taken for the picture.

    Memory is that of the picture as Pillow holds it, at most 4 bytes a pixel, and of the result: it is converted in
    stripes.

    Raises:
        DecodeError: the file is empty, broken, too large or not a picture, or its values have no defined white.
    """
    with _reasons():
        check_regular(path)
        size = path.stat().st_size
        if not size:
            raise DecodeError("the file is empty")
        content, profile = without_large_profile(path, MAX_PROFILE) or (path, None)
        with Image.open(content, formats=FORMATS) as picture:
            _check_size(*picture.size)
            _check_whole(size, content, picture)
            return _decode(picture, profile)


def decode_bytes(content: bytes) -> np.ndarray:
    """Decode a JPEG or PNG in memory: (H, W, 3) uint8 sRGB, upright; see `decode_photo`, also for what it raises."""
    with _reasons(), Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
        _check_size(*picture.size)
        _check_whole(len(content), io.BytesIO(content), picture)
        return _decode(picture, None).pixels


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever decoders raise into a DecodeError with a reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata nobody reads, and about sizes that are checked here
            yield
    except DecodeError:
        raise
    except SpecialFile as error:
        raise DecodeError(str(error)) from error
    except Image.DecompressionBombError as error:
        raise DecodeError("it claims more pixels than a photo has") from error
    except Image.UnidentifiedImageError as error:
        raise DecodeError("it is not a picture in a known format") from error
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        raise DecodeError(f"it cannot be decoded ({reason_of(error)})") from error


def same_pixels(content: bytes, pixels: np.ndarray) -> bool:
    """Return whether a file is a picture of exactly these pixels: (H, W, 3) uint8 RGB."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes: it is compared with the picture that is there
            picture = Image.open(io.BytesIO(content), formats=("JPEG",))
        with picture:
            if (picture.height, picture.width, 3) != pixels.shape or picture.mode != "RGB":
                return False
            picture.load()
            return all(np.array_equal(np.asarray(part), pixels[rows]) for rows, part in _stripes(picture))
    except Exception:  # decoders raise whatever they stumble over
        return False


def _decode(picture: ImageFile.ImageFile, profile: bytes | None) -> Photo:
    stored_as = str(picture.tile[0].args) if picture.tile else ""  # forgotten by load(), as the open file is
    code = cicp(picture.fp) if picture.fp and picture.format == "PNG" else None
    if picture.fp and profile is None:
        profile = embedded_icc.profile(picture.fp, picture.format, MAX_PROFILE)
    picture.load()
    remark, converted = None, None
    try:
        converted = conversion(picture, profile, code)
    except ProfileError as error:
        remark = f"unusable colour profile ({error}), taken as sRGB"
    orientation = _turn(picture)
    width, height = picture.size
    pixels = np.empty((width, height, 3) if orientation.transpose else (height, width, 3), np.uint8)
    stored = orientation.stored(pixels)
    inverted = _is_inverted(picture)
    for rows, part in _stripes(picture):
        part = part.point(lambda value: value * -1 + 65535) if inverted else part
        stored[rows] = to_rgb(part, converted, colour_key(picture, stored_as))
    return Photo(pixels, remark)


def _stripes(picture: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield a loaded picture from top to bottom in pieces, each with its rows; a copy of the whole is never made."""
    width, height = picture.size
    step = max(1, STRIPE // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        yield slice(top, bottom), picture.crop((0, top, width, bottom))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DecodeError(f"it claims {width}x{height} pixels, more than {MAX_PIXELS // 1_000_000} million")


def _check_whole(size: int, content: Path | io.BytesIO, picture: Image.Image) -> None:
    """Raise DecodeError where Pillow, like most decoders, would fill in what is missing or take what is wrong.

    size: bytes of the file.
    """
    if picture.format == "PNG":
        again_from = io.BytesIO(content.getbuffer()) if isinstance(content, io.BytesIO) else content
        with Image.open(again_from, formats=FORMATS) as again:  # verify() leaves a picture unfit for load()
            again.verify()  # the checksums, of which load() skips those of the pixels
    elif picture.format == "JPEG2000" and isinstance(content, Path) and END_OF_CODESTREAM not in content.read_bytes():
        raise DecodeError("it is cut off: the mark at its end is missing")
    elif picture.format in ("JPEG", "MPO") and picture.width * picture.height > MAX_JPEG_PIXELS_A_BYTE * size:
        raise DecodeError(f"it claims {picture.width}x{picture.height} pixels, more than its {size} bytes can hold")


def _is_inverted(picture: Image.Image) -> bool:
    """Return whether high values are dark, as in scans; Pillow turns those of 8 bits round itself, those of 16 not."""
    tags = getattr(picture, "tag_v2", {})
    return picture.mode == "I;16" and tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO


def _turn(picture: Image.Image) -> Orientation:
    # Asked for after load(), because the TIFF reader turns the picture itself and then drops the tag.
    try:
        return EXIF_ORIENTATIONS.get(picture.getexif().get(ORIENTATION_TAG, 1), UPRIGHT)
    except Exception:  # a broken tag is no reason to lose a photo
        return UPRIGHT
