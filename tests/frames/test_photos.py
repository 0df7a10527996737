import contextlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wildseg.frames.photos import read_photo
from wildseg.frames.read_stats import DecodeError, ReadStats
from wildseg.frames.reader import read
from wildseg.frames.sources import Source

RNG = np.random.default_rng(0)
PICTURE = np.kron(RNG.integers(0, 256, (5, 7, 3)), np.ones((8, 8, 1))).astype(np.uint8)  # (40, 56, 3)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp"])
def test_rgb_comes_back_as_it_was(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    np.testing.assert_array_equal(
        read_photo(save(tmp_path / f"a{suffix}", Image.fromarray(PICTURE), **options)), PICTURE
    )


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PICTURE).convert(mode)
    suffix = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    result = read_photo(save(tmp_path / f"a{suffix}", image))
    assert result.shape == PICTURE.shape
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result.astype(int), np.asarray(image.convert("RGB")).astype(int), atol=2)


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    result = read_photo(save(tmp_path / "a.jpg", red, quality=95))
    np.testing.assert_allclose(result.mean(axis=(0, 1)), (255, 0, 0), atol=6)


def test_what_is_transparent_becomes_black(tmp_path: Path) -> None:
    pixels = np.full((2, 3, 4), (200, 100, 50, 255), np.uint8)
    pixels[0, 0, 3], pixels[0, 1, 3] = 0, 128
    rgba = read_photo(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert rgba[0, 0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(rgba[0, 1], (100, 50, 25), atol=1)
    assert rgba[1, 2].tolist() == [200, 100, 50]

    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    keyed = read_photo(save(tmp_path / "b.png", palette, transparency=0))
    assert keyed.tolist() == [[[0, 0, 0], [0, 255, 0]], [[0, 255, 0], [0, 0, 0]]]


HIDDEN, SHOWN = (255, 0, 254), (10, 200, 90)


def half_hidden(mode: str) -> Image.Image:
    """Return a picture whose left half is transparent, over a colour that must not show."""
    image = Image.new("RGBA", (16, 8), (*SHOWN, 255))
    image.paste((*HIDDEN, 0), (0, 0, 8, 8))
    return image.quantize(8) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGBA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("RGBA", "JPEG2000"), ("LA", "PNG"), ("LA", "TIFF"),
     ("LA", "JPEG2000"), ("P", "PNG"), ("RGBA", "GIF")],
)  # fmt: skip
def test_a_hidden_colour_never_shows(tmp_path: Path, mode: str, kind: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    half_hidden(mode).save(tmp_path / "a.png", kind, **options)
    found = read_photo(tmp_path / "a.png").astype(int)
    shown = SHOWN if mode in ("RGBA", "P") else [Image.new("RGB", (1, 1), SHOWN).convert("L").getpixel((0, 0))] * 3
    assert found[:, :8].max() == 0
    assert np.abs(found[:, 8:] - shown).max() <= 1


def test_a_gif_whose_every_pixel_is_transparent_is_black(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "a.png", "GIF", transparency=0)
    assert read_photo(tmp_path / "a.png").max() == 0


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (100, 50, 20, 128)), ("LA", (100, 128))])
def test_what_was_multiplied_by_alpha_is_not_multiplied_again(
    tmp_path: Path, mode: str, colour: tuple[int, ...]
) -> None:
    path = save(tmp_path / "a.tif", Image.new(mode, (8, 8), colour))
    # The tag ExtraSamples, 338: a short; 2 says that alpha lies beside the colours, 1 that they were multiplied by it.
    entry = struct.pack("<HHII", 338, 3, 1, 2)
    assert path.read_bytes().count(entry) == 1
    path.write_bytes(path.read_bytes().replace(entry, struct.pack("<HHII", 338, 3, 1, 1)))
    expected = colour[:3] if mode == "RGBA" else [colour[0]] * 3
    assert np.abs(read_photo(path)[0, 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("bits", "colour", "row", "key", "expected"),
    [
        (1, 0, b"\x40", (0,), [0, 255]),
        (1, 0, b"\x40", (1,), [0, 0]),
        (2, 0, b"\x60", (1,), [0, 170]),  # values 1 and 2 of 3
        (4, 0, b"\x7e", (7,), [0, 238]),  # values 7 and 14 of 15
        (8, 0, bytes((85, 86)), (85,), [0, 86]),
        (16, 0, struct.pack(">2H", 40_000, 40_001), (40_000,), [0, 156]),
        (8, 2, bytes((9, 8, 7, 9, 8, 6)), (9, 8, 7), [[0, 0, 0], [9, 8, 6]]),
        (16, 2, struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0x3434, 0x7878, 0xBCBC), (0x1234, 0x5678, 0x9ABC),
         [[0, 0, 0], [0x34, 0x78, 0xBC]]),
    ],
)  # fmt: skip
def test_one_value_or_colour_may_stand_for_transparent(
    tmp_path: Path, bits: int, colour: int, row: bytes, key: tuple[int, ...], expected: list[object]
) -> None:
    said = (b"tRNS", struct.pack(f">{len(key)}H", *key))
    (tmp_path / "a.png").write_bytes(png(2, 1, bits, b"\0" + row, said, colour=colour))
    wanted = np.array(expected)
    found = read_photo(tmp_path / "a.png")[0]
    np.testing.assert_array_equal(found, wanted if wanted.ndim == 2 else np.repeat(wanted[:, None], 3, axis=1))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    result = read_photo(save(tmp_path / f"a{suffix}", Image.fromarray(values)))
    expected = np.round(values / 65535 * 255)
    for channel in range(3):
        np.testing.assert_array_equal(result[..., channel], expected)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_16_bit_grey_of_a_scan_whose_zero_is_white_is_not_a_negative(tmp_path: Path, compression: str | None) -> None:
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    options = {"tiffinfo": {262: 0}, "compression": compression}  # Pillow stores 16 bits as they are
    result = read_photo(save(tmp_path / "a.tif", Image.fromarray(values), **options))
    np.testing.assert_array_equal(result[..., 0], np.round((65535 - values) / 65535 * 255))


def png(width: int, height: int, bits: int, rows: bytes | None, *chunks: tuple[bytes, bytes], colour: int = 2) -> bytes:
    """Return a PNG, RGB by default, written by hand; without rows it promises pixels that are not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = b"" if rows is None else chunk(b"IDAT", zlib.compress(rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    between = b"".join(chunk(*one) for one in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + between + pixels + chunk(b"IEND", b"")


def test_16_bit_colour_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 24).round().astype(">u2").reshape(2, 4, 3)
    (tmp_path / "a.png").write_bytes(png(4, 2, 16, b"".join(b"\0" + row.tobytes() for row in values)))
    np.testing.assert_allclose(read_photo(tmp_path / "a.png"), values / 257, atol=1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    # From the definition: the tag says where the stored row 0 and column 0 are on the upright picture.
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
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    path = save(tmp_path / f"a{suffix}", Image.fromarray(np.ascontiguousarray(stored)), exif=exif, **options)
    result = read_photo(path)
    assert result.shape == PICTURE.shape
    assert np.abs(result.astype(int) - PICTURE).mean() < 3


def test_a_strange_orientation_is_passed_over(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    path = save(tmp_path / "a.png", Image.fromarray(PICTURE), exif=exif)
    np.testing.assert_array_equal(read_photo(path), PICTURE)


def make_bad(path: Path, kind: str) -> Path:
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "truncated":
        save(path, Image.fromarray(PICTURE), format="PNG")
        path.write_bytes(path.read_bytes()[:-60])
    elif kind == "truncated jpeg":
        save(path, Image.fromarray(PICTURE), format="JPEG", quality=95)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "large":
        path.write_bytes(png(13_000, 13_000, 8, None))
    elif kind == "huge":
        path.write_bytes(png(60_000, 60_000, 8, None))
    elif kind == "float":
        save(path, Image.fromarray(np.ones((4, 4), np.float32)), format="TIFF")
    elif kind == "32 bit":
        save(path, Image.fromarray(np.full((4, 4), 70_000, np.int32)), format="TIFF")
    elif kind == "dangling":
        path.symlink_to(path.with_name("gone.png"))
    return path


BAD = {
    "empty": "the file is empty",
    "text": "not a picture",
    "truncated": "cannot be decoded",
    "truncated jpeg": r"cannot be decoded \(.*[Tt]runcated",
    "large": "13000x13000 pixels, more than 150 million",
    "huge": "more pixels than a photo has",
    "float": "no white is defined",
    "32 bit": "no white is defined",
    "dangling": "No such file",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_photo_says_why_in_one_line(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DecodeError, match=BAD[kind]) as caught:
        read_photo(make_bad(tmp_path / "a.png", kind))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(30))
def test_no_damage_escapes_as_another_error(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")[seed % 6]
    path = save(tmp_path / "a.png", Image.fromarray(PICTURE), format=kind)
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, min(len(content), 400), 12):
        content[place] = rng.integers(256)
    path.write_bytes(bytes(content))
    with contextlib.suppress(DecodeError):
        assert read_photo(path).dtype == np.uint8


def test_a_picture_under_another_pictures_suffix_is_read(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_photo(save(tmp_path / "a.jpg", Image.fromarray(PICTURE), format="PNG")), PICTURE)


def test_photos_are_all_yielded_and_a_bad_one_leaves_its_index_unused(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.png", Image.fromarray(PICTURE + n)) for n in range(3)]
    paths.insert(1, make_bad(tmp_path / "bad.png", "text"))
    stats = ReadStats()
    frames = list(read(Source("trip", "photos", tuple(paths)), 0.5, stats))
    assert [(frame.name, frame.time_s, frame.clock_s) for frame in frames] == [
        ("trip_000000", None, 0.0),
        ("trip_000002", None, 2.0),
        ("trip_000003", None, 3.0),
    ]
    np.testing.assert_array_equal(frames[2].pixels.rgb(), PICTURE + 2)
    assert (stats.files, stats.decoded) == (4, 3)
    assert stats.quarantine == [("bad.png", "it is not a picture in a known format")]


# Memory ---------------------------------------------------------------------------------------------------------------

SIDE = 2400
PEAK = """
import resource, sys
from pathlib import Path
from wildseg.frames.photos import read_photo

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # the other counter may be inherited from the process that started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

read_photo(Path(sys.argv[1]))
before = peak()
pixels = read_photo(Path(sys.argv[2]))
print((peak() - before) / pixels[..., 0].size)
"""


def plain_picture(kind: str, side: int) -> bytes:
    """Return a file of few bytes and many pixels."""
    kinds = {"RGBA": (8, 6, 4), "16-bit RGBA": (16, 6, 8), "16-bit grey": (16, 0, 2), "palette": (8, 3, 1)}
    bits, colour, size = kinds[kind]
    chunks = [(b"PLTE", bytes(768)), (b"tRNS", bytes(range(256)))] if kind == "palette" else []
    rows = b"".join([b"\0" + b"\x40" * size * side] * side)
    return png(side, side, bits, rows, *chunks, colour=colour)


@pytest.mark.parametrize("kind", ["RGBA", "16-bit RGBA", "16-bit grey", "palette"])
def test_a_photo_takes_the_memory_of_one_picture_and_of_its_rgb(tmp_path: Path, kind: str) -> None:
    for name, side in (("small.png", 16), ("large.png", SIDE)):
        (tmp_path / name).write_bytes(plain_picture(kind, side))
    command = [sys.executable, "-c", PEAK, str(tmp_path / "small.png"), str(tmp_path / "large.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    held = {"16-bit grey": 2, "palette": 1}.get(kind, 4)  # bytes a pixel, by Pillow
    assert float(done.stdout) < held + 3 + 2.5  # 3 of the result, and 14 MB for the file and for stripes
