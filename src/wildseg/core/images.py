"""Images of outputs: class ids as palette PNG, key frames as JPEG; refused by their header where they are too large."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from wildseg.core.errors import DataError
from wildseg.core.files import Opener, open_loose, save_bytes, unreadable
from wildseg.core.id_colours import id_palette

# What Pillow raises for a file that is missing, truncated, garbled, or claims to have billions of pixels.
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)

# Larger images are rejected by their header: decoded, they would need gigabytes (a "decompression bomb").
MAX_PIXELS = 150_000_000  # the same as for photos, so that every frame that was extracted can be read again


def save_label_image(path: Path, ids: np.ndarray) -> None:
    """Write (H, W) uint8 ids as `encode_label_image` has them."""
    save_bytes(path, encode_label_image(ids))


def encode_label_image(ids: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """Return (H, W) uint8 ids as a palette PNG, so that a viewer shows them in colour.

    Args:
        ids: (H, W) uint8.
        palette: (256, 3) uint8 RGB by id; none takes colours that depend on ids alone, as stages pass them on, so that
            another colour of a class is no other result.
    """
    image = Image.fromarray(ids)
    image.putpalette((id_palette() if palette is None else palette).tobytes())
    return encode_png(image)


def encode_png(image: Image.Image) -> bytes:
    """Return a picture of few levels, such as ids or a confidence, as PNG."""
    # Rows are nearly constant: run-length matching alone halves zlib's time, and saves a little space.
    # Encoded in memory: to a file, Pillow writes many small pieces, which takes half as long again.
    content = io.BytesIO()
    image.save(content, "PNG", compress_type=zlib.Z_RLE)
    return content.getvalue()


def load_label_image(path: Path, opener: Opener = open_loose) -> np.ndarray:
    """Read (H, W) uint8 ids from a palette or 8-bit grey PNG.

    Raises:
        DataError: missing, broken, too large, or an image in colour.
    """
    return _load_png(path, opener, ("P", "L"), "a palette or 8-bit grey image of class ids", "an image of class ids")


def load_grey_image(path: Path, opener: Opener = open_loose) -> np.ndarray:
    """Read (H, W) uint8 levels from an 8-bit grey PNG.

    Raises:
        DataError: missing, broken, too large, or of another kind, such as in colour or of 16 bits.
    """
    return _load_png(path, opener, ("L",), "an 8-bit grey PNG", "an 8-bit grey PNG")


def load_grey_levels(path: Path, opener: Opener = open_loose) -> np.ndarray:
    """Read (H, W) levels from a grey PNG: uint8, or uint16 of 16 bits.

    Raises:
        DataError: missing, broken, too large, or in colour.
    """
    kind = "a grey PNG of 8 or 16 bits"
    levels = _load_png(path, opener, ("L", "I;16", "I"), kind, kind)
    return levels if levels.dtype == np.uint8 else levels.astype(np.uint16)  # Pillow reads 16 bits as more


def _load_png(path: Path, opener: Opener, modes: tuple[str, ...], kind: str, what: str) -> np.ndarray:
    try:
        with opener(path) as stream, Image.open(stream, formats=("PNG",)) as image:
            check_size(image)
            if image.mode not in modes:
                raise DataError(f"{path}: expected {kind}, found mode {image.mode}")
            return np.asarray(image).copy()
    except BROKEN_IMAGE as error:
        raise unreadable(path, what, error) from error


def load_image(path: Path, opener: Opener = open_loose) -> np.ndarray:
    """Read a JPEG: (H, W, 3) uint8 RGB.

    Raises:
        DataError: missing, broken or too large.
    """
    try:
        with opener(path) as stream, Image.open(stream, formats=("JPEG",)) as image:
            check_size(image)
            return np.asarray(image.convert("RGB"))
    except BROKEN_IMAGE as error:
        raise unreadable(path, "an image", error) from error


def check_size(image: Image.Image) -> None:
    """Reject an oversized image by its header, before it is decoded.

    Raises:
        ValueError: it claims more than `MAX_PIXELS`.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"it claims {width}x{height} pixels, more than {MAX_PIXELS // 1_000_000} million")
