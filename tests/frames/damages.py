"""Videos of which something is missing or wrong in the middle, although a player shows them without a word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np

from tests.frames.clips import write_clip

FRAMES = 40


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Return (place, size) in bytes of each packet that the container locates."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size and packet.pos > 0]


def without_packets(path: Path, numbers: Sequence[int]) -> Path:
    """Write the video anew without the packets of these numbers; the others keep their times."""
    whole = path.rename(path.with_name(f".whole{path.suffix}"))
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            if number not in numbers:
                packet.stream = stream
                target.mux(packet)
    whole.unlink()
    return path


def zeroed(path: Path, numbers: Sequence[int], before: int = 8) -> Path:
    """Overwrite the packets of these numbers, and the bytes of the container before each, with zeros."""
    content = bytearray(path.read_bytes())
    for start, size in (packet_places(path)[number] for number in numbers):
        content[start - before : start + size] = bytes(before + size)
    path.write_bytes(content)
    return path


def without_bytes(path: Path, share: float, count: int) -> Path:
    """Remove `count` bytes behind the first `share` of the file."""
    content = path.read_bytes()
    place = int(share * len(content)) // count * count
    path.write_bytes(content[:place] + content[place + count :])
    return path


def noisy(path: Path, numbers: Sequence[int]) -> Path:
    """Overwrite the second half of the packets of these numbers with noise."""
    content = bytearray(path.read_bytes())
    for number in numbers:
        start, size = packet_places(path)[number]
        content[start + size // 2 : start + size] = np.random.default_rng(number).bytes(size - size // 2)
    path.write_bytes(content)
    return path


def _rgb8(stream: av.VideoStream) -> None:
    stream.pix_fmt = "rgb8"


def _yuvj(stream: av.VideoStream) -> None:
    stream.pix_fmt = "yuvj420p"


def _plain(stream: av.VideoStream) -> None:
    stream.codec_context.options = {"bf": "0"}


# By file name: what writes it, a pattern for a reason that must be given, and how many frames are missing or wrong,
# None where that depends on the decoder.
DAMAGES: dict[str, tuple[Callable[[Path], object], str, int | None]] = {
    "removed.webm": (lambda p: without_packets(write_clip(p, FRAMES, codec="libvpx"), [17, 18, 19]), "missing", 3),
    "removed.mkv": (
        lambda p: without_packets(write_clip(p, FRAMES, codec="mpeg4"), [8, 9, 30]),
        "missing between 0.70 and 1.00 s: 2 by their pace",
        3,
    ),
    "removed.wmv": (lambda p: without_packets(write_clip(p, FRAMES, codec="wmv2"), [21, 22]), "are missing", 2),
    "removed.flv": (lambda p: without_packets(write_clip(p, FRAMES, codec="flv"), [12]), "are missing", 1),
    "zeroed.mkv": (lambda p: zeroed(write_clip(p, FRAMES, codec="mjpeg", prepare=_yuvj), [20]), "are missing", None),
    "zeroed.webm": (lambda p: zeroed(write_clip(p, FRAMES, codec="libvpx"), [20]), "are missing", None),
    "zeroed.gif": (
        lambda p: p.write_bytes(
            (whole := write_clip(p, FRAMES, codec="gif", prepare=_rgb8).read_bytes())[: len(whole) // 2]
            + bytes(64)
            + whole[len(whole) // 2 + 64 :]
        ),
        "blocks are broken|LZW",
        None,
    ),
    "cut.gif": (
        lambda p: without_bytes(write_clip(p, FRAMES, codec="gif", prepare=_rgb8), 0.5, 5000),
        "blocks are broken .* pictures are lost",
        None,
    ),
    "zeroed.avi": (
        lambda p: zeroed(write_clip(p, FRAMES, codec="mjpeg", prepare=_yuvj), [20]),
        "of the 40 frames in its index are not there",
        None,
    ),
    "packet_lost.ts": (
        lambda p: without_bytes(write_clip(p, FRAMES, codec="mpeg2video"), 0.5, 188),
        "only a part",
        None,
    ),
    "noisy.avi": (lambda p: noisy(write_clip(p, FRAMES, codec="mpeg4"), [11, 31]), r"damaged \(mpeg4: ", None),
    "noisy.ts": (
        lambda p: noisy(write_clip(p, FRAMES, codec="mpeg2video"), [20]),
        r"damaged \(mpeg2video: |part",
        None,
    ),
    "noisy.mkv": (lambda p: noisy(write_clip(p, FRAMES, prepare=_plain), [11]), r"damaged \(h264: ", None),
    "noisy.wmv": (lambda p: noisy(write_clip(p, FRAMES, codec="wmv2"), [11, 21]), r"damaged \(wmv2: |missing", None),
}
