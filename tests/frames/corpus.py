"""A corpus of good and bad media, written on the spot: what a file holds is known, or why it must be refused.

`GOOD_PHOTOS` and `GOOD_VIDEOS` write a file and return what should be read from it; `BAD_PHOTOS` and `BAD_VIDEOS` write
one that must end up in quarantine.csv for the reason that stands beside them.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.frames.clips import cut_off, numbered, write_clip

HEIGHT, WIDTH = 40, 56
PICTURE = np.kron(np.random.default_rng(7).integers(20, 236, (5, 7, 3)), np.ones((8, 8, 1))).astype(np.uint8)
BILLIONS = 60_000  # a side; its square is 3.6 billion pixels

PNG_MARK = b"\x89PNG\r\n\x1a\n"


def encoded(picture: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    """Return a picture as a file of that format."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def flipped(content: bytes, bits: list[int]) -> bytes:
    """Return the content with these bits the other way round; each is taken modulo the length."""
    changed = bytearray(content)
    for bit in bits:
        place = bit % (8 * len(changed))
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def grey_of(picture: np.ndarray) -> np.ndarray:
    """Return a colour picture as the grey one that its red channel is: (H, W, 3)."""
    return np.repeat(picture[..., :1], 3, axis=2)


def black_where_transparent() -> tuple[np.ndarray, np.ndarray]:
    """Return an (H, W, 4) picture whose left half is transparent, and what it should look like."""
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:, : WIDTH // 2] = 0
    return np.concatenate([PICTURE, alpha], axis=2), PICTURE * (alpha > 0)


def palette_picture() -> tuple[Image.Image, np.ndarray]:
    """Return a palette picture of four colours, and its colours."""
    colours = np.array([[0, 0, 0], [200, 30, 40], [20, 160, 60], [40, 60, 190]], np.uint8)
    indices = (np.arange(HEIGHT)[:, None] // 8 + np.arange(WIDTH)[None] // 8).astype(np.uint8) % 4
    image = Image.fromarray(indices, "P")
    image.putpalette(colours.reshape(-1).tolist())
    return image, colours[indices]


def turned(orientation: int) -> bytes:
    """Return a JPEG stored so that the EXIF tag `orientation` turns it into PICTURE."""
    stored = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.swapaxes(0, 1),
        6: np.rot90(PICTURE),
        7: PICTURE[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(PICTURE, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(np.ascontiguousarray(stored), "JPEG", quality=97, subsampling=0, exif=exif)


def good_photos() -> dict[str, tuple[bytes, np.ndarray]]:
    """Return content and (H, W, 3) uint8 pixels by file name."""
    rgba, on_black = black_where_transparent()
    palette, palette_rgb = palette_picture()
    keyed = np.where((np.asarray(palette) == 1)[..., None], 0, palette_rgb).astype(np.uint8)
    grey16 = PICTURE[..., 0].astype(np.uint16) * 257
    fine = {"quality": 97, "subsampling": 0}
    return {
        "plain.jpg": (encoded(PICTURE, "JPEG", **fine), PICTURE),
        "png_called.jpg": (encoded(PICTURE, "PNG"), PICTURE),
        "jpeg_called.png": (encoded(PICTURE, "JPEG", **fine), PICTURE),
        "grey.png": (encoded(PICTURE[..., 0], "PNG"), grey_of(PICTURE)),
        "grey.jpg": (encoded(PICTURE[..., 0], "JPEG", quality=97), grey_of(PICTURE)),
        "grey_16_bit.png": (encoded(grey16, "PNG"), grey_of(PICTURE)),
        "rgba.png": (encoded(rgba, "PNG"), on_black),
        "palette.png": (encoded(palette, "PNG"), palette_rgb),
        "palette_keyed.png": (encoded(palette, "PNG", transparency=1), keyed),
        "cmyk.jpg": (encoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=97), PICTURE),
        "one_pixel.png": (encoded(PICTURE[:1, :1], "PNG"), PICTURE[:1, :1]),
        "one_pixel.jpg": (encoded(PICTURE[:1, :1], "JPEG", **fine), PICTURE[:1, :1]),
        **{f"turned_{n}.jpg": (turned(n), PICTURE) for n in range(1, 9)},
    }


def enormous() -> dict[str, bytes]:
    """Return files of some hundred bytes by name, each of which claims billions of pixels in a valid header."""
    jpeg = bytearray(encoded(PICTURE, "JPEG"))
    sizes = jpeg.find(b"\xff\xc0") + 5
    jpeg[sizes : sizes + 4] = struct.pack(">HH", BILLIONS, BILLIONS)
    header = struct.pack(">IIBBBBB", BILLIONS, BILLIONS, 8, 2, 0, 0, 0)
    png = PNG_MARK + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )
    bmp = bytearray(encoded(PICTURE, "BMP"))
    bmp[18:26] = struct.pack("<II", BILLIONS, BILLIONS)
    tags = (
        (256, BILLIONS),
        (257, BILLIONS),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, BILLIONS),
        (279, 99),
    )
    tiff = b"II*\0" + struct.pack("<IH", 8, len(tags))
    tiff += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(104)
    gif = b"GIF89a" + struct.pack("<HHBBB", BILLIONS, BILLIONS, 0x80, 0, 0) + bytes(6)
    gif += b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00;"
    y4m = b"YUV4MPEG2 W%d H%d F25:1 C420\nFRAME\n" % (15_000, 15_000) + bytes(1000)
    return {
        "huge.jpg": bytes(jpeg),
        "huge.png": png,
        "huge.bmp": bytes(bmp),
        "huge.tif": tiff,
        "huge.ppm": b"P6 %d %d 255\n" % (BILLIONS, BILLIONS) + bytes(100),
        "huge.gif": gif,
        "huge.y4m": y4m,
    }


def bad_photos() -> dict[str, tuple[bytes, str]]:
    """Return content and a pattern for the reason by file name."""
    png, jpeg = encoded(PICTURE, "PNG"), encoded(PICTURE, "JPEG")
    pixels = png.find(b"IDAT")
    tall = bytearray(jpeg)
    sizes = tall.find(b"\xff\xc0") + 5
    tall[sizes : sizes + 4] = struct.pack(">HH", 12_000, 12_000)
    return {
        "zero_bytes.jpg": (b"", "the file is empty"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "cannot be decoded"),
        "truncated.png": (png[: len(png) // 2], "cannot be decoded"),
        "half_zeros.jpg": (jpeg[: len(jpeg) // 2] + bytes(len(jpeg) // 2), "cannot be decoded"),
        "bit_flipped.png": (flipped(png, [8 * (pixels + 40)]), "cannot be decoded .*checksum"),
        "text_called.png": (b"no picture at all\n" * 9, "not a picture"),
        "postscript_called.png": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
            "not a picture in a known format",
        ),
        "too_tall.jpg": (bytes(tall), "more than its .* bytes can hold"),
        **{
            name: (content, "claims .* pixels")
            for name, content in enormous().items()
            if name[-3:] not in ("gif", "y4m")
        },
    }


def good_videos() -> dict[str, Callable[[Path], tuple[list[int], list[float]]]]:
    """Return by file name what writes it, and returns the numbers of its frames and their times from the first one."""

    def plain(path: Path) -> tuple[list[int], list[float]]:
        write_clip(path, 8, codec="mpeg4" if path.suffix == ".avi" else "libx264")
        return list(range(8)), [n / 10 for n in range(8)]

    def variable(path: Path) -> tuple[list[int], list[float]]:
        times_ms = [0, 30, 60, 500, 530, 1500, 2400, 2990]
        write_clip(path, len(times_ms), times_ms=times_ms)
        return list(range(8)), [time / 1000 for time in times_ms]

    def upside_down(path: Path) -> tuple[list[int], list[float]]:
        stored = [np.ascontiguousarray(numbered(n)[::-1, ::-1]) for n in range(4)]
        write_clip(path, stored, prepare=lambda stream: stream.set_display_rotation(180))
        return list(range(4)), [n / 10 for n in range(4)]

    def two_sizes(path: Path) -> tuple[list[int], list[float]]:
        larger = [np.kron(numbered(n), np.ones((2, 2, 1))).astype(np.uint8) for n in range(4, 8)]
        parts = [write_clip(path.with_name(f".{n}.ts"), images) for n, images in enumerate((4, larger))]
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        return list(range(8)), [n / 10 for n in range(8)]

    def without_index(path: Path) -> tuple[list[int], list[float]]:
        write_clip(path, 8, live="1")  # Matroska as it is sent: no Cues, no length
        return list(range(8)), [n / 10 for n in range(8)]

    return {
        "plain.mp4": plain,
        "plain.mkv": plain,
        "plain.avi": plain,
        "variable.mp4": variable,
        "variable.mkv": variable,
        "upside_down.mp4": upside_down,
        "two_sizes.ts": two_sizes,
        "without_index.mkv": without_index,
    }


def without_frames(path: Path) -> None:
    """Write a video that has a header and an end, but no frame between."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        container.start_encoding()


def sound_only(path: Path) -> None:
    """Write a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def bad_videos() -> dict[str, tuple[Callable[[Path], object], str]]:
    """Return by file name what writes it, and a pattern for the reason; no frame can be had from any of them."""
    return {
        "zero_bytes.mp4": (Path.touch, "the file is empty"),
        "without_index.mp4": (lambda path: cut_off(write_clip(path, 8), 0.9), "not a video that can be opened"),
        "without_frames.mp4": (without_frames, "holds no (frame|video)|not a video"),
        "without_frames.mkv": (without_frames, "holds no (frame|video)|not a video"),
        "sound_only.mp4": (sound_only, "holds no video"),
        "text.mp4": (lambda path: path.write_text("no video at all\n" * 9), "not a video"),
        "playlist.mp4": (
            lambda path: path.write_text("ffconcat version 1.0\nfile plain.mp4\n"),
            "a list of other files",
        ),
        "photo_called.mp4": (lambda path: path.write_bytes(encoded(PICTURE, "JPEG")), "a picture under a video's name"),
        "huge.gif": (lambda path: path.write_bytes(enormous()["huge.gif"]), "no frame|claims|cannot be decoded"),
        "huge.y4m": (lambda path: path.write_bytes(enormous()["huge.y4m"]), "claims .* pixels"),
    }
