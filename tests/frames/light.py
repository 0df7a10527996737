"""Video of known light: patches of sRGB coded in PQ, HLG or SDR with wide primaries, by formulas of the encoding side.

ITU-R BT.2100-2 (PQ inverse EOTF, HLG OETF and inverse OOTF), BT.2020-2 (matrix), BT.2087-0 (primaries), BT.2408-7.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WHITE = 203.0  # cd/m2
PATCHES = ((40, 180, 60), (240, 240, 240), (128, 128, 128), (200, 40, 40), (40, 60, 190), (30, 30, 30), (70, 90, 60))
SIDE = 32
REC709_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
WEIGHTS_2020 = np.array([0.2627, 0.6780, 0.0593])
CODES = {"pq": 16, "hlg": 18, "sdr": 14}


def patches(colours: Sequence[tuple[int, int, int]] = PATCHES) -> np.ndarray:
    """Return (32, 32 * N, 3) uint8: a square of each colour, side by side."""
    return np.kron(np.array(colours, np.uint8)[None], np.ones((SIDE, SIDE, 1), np.uint8))


def middles(image: np.ndarray, count: int = len(PATCHES)) -> np.ndarray:
    """Return (N, 3): the mean colour in the middle of each square of a picture made from `patches`."""
    side = image.shape[1] // count
    inner = slice(side // 4, 3 * side // 4)
    return np.array([image[inner, n * side :][:, inner].mean(axis=(0, 1)) for n in range(count)])


def linear(image: np.ndarray) -> np.ndarray:
    """Return light in 0..1 of sRGB values."""
    value = image / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def signal(light: np.ndarray, curve: str) -> np.ndarray:
    """Return the signal in 0..1 of light (..., 3) in BT.2020 primaries, 1 for white."""
    if curve == "sdr":
        return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    if curve == "pq":
        power = (np.clip(light * WHITE / 10_000, 0, 1)) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    display = np.clip(light * WHITE / 1000, 0, None)
    luminance = np.maximum(display @ WEIGHTS_2020, 1e-9)
    scene = display * luminance[..., None] ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.clip(np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright), 0, 1)


def coded_frame(
    image: np.ndarray, curve: str, pixel_format: str, *, full: bool = False, gain: float = 1
) -> av.VideoFrame:
    """Return a frame of (H, W, 3) uint8 sRGB in BT.2020 primaries and 10 bits; `gain` makes all of it brighter."""
    red, green, blue = np.moveaxis(signal(gain * linear(image) @ REC709_TO_2020.T, curve), -1, 0)
    luma = WEIGHTS_2020 @ np.stack([red, green, blue]).reshape(3, -1)
    luma = luma.reshape(red.shape)
    scales = (1023, 1023, 0) if full else (876, 896, 64)
    planes = [scales[2] + scales[0] * luma] + [
        512 + scales[1] * chroma for chroma in ((blue - luma) / 1.8814, (red - luma) / 1.4746)
    ]
    frame = av.VideoFrame(image.shape[1], image.shape[0], "yuv444p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
        rows[:, : image.shape[1]] = np.clip(np.round(values), 0, 1023)
        plane.update(rows.tobytes())
    frame.color_range = 2 if full else 1
    frame = frame.reformat(format=pixel_format)
    frame.color_range = 2 if full else 1
    return frame


def write_coded(
    path: Path,
    images: Sequence[np.ndarray],
    curve: str,
    codec: str,
    pixel_format: str,
    *,
    full: bool = False,
    gain: float = 1,
    transfer: int | None = None,
    matrix: int = 9,
    **options: str,
) -> Path:
    """Write a video of sRGB images coded as `curve` says; `transfer` and `matrix` are what the file says of itself."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.color_trc = CODES[curve] if transfer is None else transfer
        context.color_primaries, context.colorspace, context.color_range = 9, matrix, 2 if full else 1
        for number, image in enumerate(images):
            frame = coded_frame(image, curve, pixel_format, full=full, gain=gain)
            frame.color_trc, frame.color_primaries, frame.colorspace = context.color_trc, 9, matrix
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
