"""From an image message to RGB pixels: the encodings of `sensor_msgs/image_encodings`, JPEG and PNG."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from wildseg.frames.bags.message import RAW, ImageMessage
from wildseg.frames.image import composite_on_black
from wildseg.frames.photos import decode_bytes
from wildseg.frames.read_stats import MAX_PIXELS, DecodeError


class Layout(NamedTuple):
    """How pixels are stored: channels, bits of each, and OpenCV's conversion to RGB, None where they are RGB."""

    channels: int
    bits: int
    conversion: int | None


# OpenCV reads a Bayer pattern by the 2x2 pixels at the upper left, as ROS names it.
BAYER = {
    "rggb": cv2.COLOR_BayerRGGB2RGB,
    "bggr": cv2.COLOR_BayerBGGR2RGB,
    "gbrg": cv2.COLOR_BayerGBRG2RGB,
    "grbg": cv2.COLOR_BayerGRBG2RGB,
}
LAYOUTS = {
    **{f"rgb{bits}": Layout(3, bits, None) for bits in (8, 16)},
    **{f"bgr{bits}": Layout(3, bits, cv2.COLOR_BGR2RGB) for bits in (8, 16)},
    **{f"rgba{bits}": Layout(4, bits, None) for bits in (8, 16)},
    **{f"bgra{bits}": Layout(4, bits, cv2.COLOR_BGRA2RGBA) for bits in (8, 16)},
    **{f"mono{bits}": Layout(1, bits, cv2.COLOR_GRAY2RGB) for bits in (8, 16)},
    **{f"bayer_{name}{bits}": Layout(1, bits, code) for name, code in BAYER.items() for bits in (8, 16)},
    "8UC1": Layout(1, 8, cv2.COLOR_GRAY2RGB),
    "8UC3": Layout(3, 8, cv2.COLOR_BGR2RGB),  # OpenCV's order, which drivers that name no colours use
    "8UC4": Layout(4, 8, cv2.COLOR_BGRA2RGBA),
    "yuv422": Layout(2, 8, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": Layout(2, 8, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": Layout(2, 8, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": Layout(2, 8, cv2.COLOR_YUV2RGB_YUY2),
}


def picture_of(message: ImageMessage) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of an image message; what is transparent becomes black.

    Values of 16 bits become value / 257, rounded, like those of photos.

    Raises:
        DecodeError: it is damaged, or its encoding is no picture, such as that of depths.
    """
    try:
        return _raw(message) if message.kind == RAW else _compressed(message)
    except cv2.error as error:
        size = f"{message.width}x{message.height}"
        raise DecodeError(f"its {size} pixels cannot be converted from {message.encoding}") from error


def _raw(message: ImageMessage) -> np.ndarray:
    layout = LAYOUTS.get(message.encoding) or LAYOUTS.get(message.encoding.lower())
    if layout is None:
        raise DecodeError(f"its encoding is {message.encoding!r}, which is no picture that can be read")
    height, width, step = message.height, message.width, message.step
    row = width * layout.channels * layout.bits // 8  # bytes; the rest of a step is padding
    if not height or not width or height * width > MAX_PIXELS:
        raise DecodeError(f"it claims {width}x{height} pixels")
    if step < row or len(message.content) < step * height:
        raise DecodeError(f"it has {len(message.content)} bytes for {height} rows of {max(step, row)}")
    stored = np.frombuffer(message.content, np.uint8, step * height).reshape(height, step)[:, :row]
    if layout.bits == 16:
        wide = np.ascontiguousarray(stored).view(">u2" if message.big_endian else "<u2").astype(np.uint32)
        stored = ((wide + 128) // 257).astype(np.uint8)
    return _converted(np.ascontiguousarray(stored.reshape(height, width, layout.channels)), layout)


def _converted(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    if layout.conversion is not None:
        pixels = cv2.cvtColor(pixels, layout.conversion)
    if layout.channels == 4:
        return composite_on_black(pixels[..., :3], pixels[..., 3])
    return pixels


def _compressed(message: ImageMessage) -> np.ndarray:
    """Decode a file; its format is ``jpeg``, or ``<encoding>; jpeg compressed <encoding of the file>``."""
    encoding, _, file_format = (part.strip() for part in message.encoding.partition(";"))
    if "compresseddepth" in file_format.lower().replace(" ", "") or encoding in ("16UC1", "32FC1"):
        raise DecodeError(f"its format is {message.encoding!r}, which is a map of depths and no picture")
    pixels = decode_bytes(bytes(message.content))
    layout = LAYOUTS.get(encoding)
    if encoding.startswith("bayer_") and layout and not file_format.endswith(("rgb8", "bgr8")):
        grey = np.ascontiguousarray(pixels[..., 0])
        return _converted(grey, layout) if (pixels == grey[..., None]).all() else pixels
    return pixels
