"""Videos whose frames carry their number in the pixels, and samples made from arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from wildseg.frames.sample import ArrayPixels, Sample

WIDTH, HEIGHT, BITS = 128, 96, 8


def numbered(number: int) -> np.ndarray:
    """Return (96, 128, 3) uint8: eight columns, black or white by the bits of `number`, above a strip of noise."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(BITS):
        image[:, bit * 16 : (bit + 1) * 16] = 235 * (number >> bit & 1) + 10
    image[64:] = np.random.default_rng(number).integers(0, 256, (32, WIDTH, 3))
    return image


def number_of(image: np.ndarray) -> int:
    """Read the number of an image that was made by `numbered`, at any size."""
    height, width = image.shape[:2]
    columns = image[: height // 2].reshape(height // 2, width, -1).mean(axis=(0, 2))
    middles = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return sum(int(columns[x] > 128) << bit for bit, x in enumerate(middles))


def write_clip(
    path: Path,
    images: Iterable[np.ndarray] | int = 20,
    *,
    rate: int = 10,
    times_ms: Sequence[int] | None = None,
    codec: str = "libx264",
    prepare: Callable[[av.VideoStream], object] | None = None,
    **options: str,
) -> Path:
    """Write a video of `images`, or of that many numbered ones; `times_ms` gives each frame its own time."""
    images = [numbered(n) for n in range(images)] if isinstance(images, int) else list(images)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2] if images else (HEIGHT, WIDTH)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 5
        if times_ms is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if prepare:
            prepare(stream)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def damage(path: Path, numbers: Sequence[int], keep: float) -> Path:
    """Overwrite the packets of these numbers with noise, but for the first share `keep` of each."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for number in numbers:
        start, size = packets[number]
        kept = int(size * keep)
        content[start + kept : start + size] = np.random.default_rng(number).bytes(size - kept)
    path.write_bytes(bytes(content))
    return path


def cut_off(path: Path, share: float) -> Path:
    """Keep only the first `share` of the file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def samples(
    images: Iterable[np.ndarray], times_s: Sequence[float] | None = None, source: str = "drive"
) -> list[Sample]:
    """Return samples of (H, W, 3) or (H, W) uint8 images, one a second unless `times_s` says otherwise."""
    return [
        Sample(
            source,
            index,
            float(index) if times_s is None else times_s[index],
            ArrayPixels(image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)),
        )
        for index, image in enumerate(images)
    ]


def flat(level: int, height: int = 12, width: int = 16) -> np.ndarray:
    """Return an image of one grey level: (height, width, 3) uint8."""
    return np.full((height, width, 3), level, np.uint8)
