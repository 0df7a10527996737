"""What colours a photo has: by profile, by EXIF, by a PNG's chunks; checked against the published formulas."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.frames import icc
from tests.frames.corpus import encoded
from wildseg.frames import rgb_spaces
from wildseg.frames.icc_profiles import ADOBE_GAMMA, matrix_profile
from wildseg.frames.photos import decode_photo, read_photo
from wildseg.frames.rgb_spaces import ADOBE_RGB, D65, SRGB

PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
D50 = (0.3457, 0.3585)
SRGB_XY = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]
ADOBE_XY = [(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)]
P3_XY = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)]
COLOURS = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8)
COLOURS[0, :3] = (106, 179, 72), (200, 40, 40), (128, 128, 128)

ADOBE = matrix_profile(ADOBE_RGB, D65, ADOBE_GAMMA)
P3 = matrix_profile(rgb_spaces.P3, D65, None)


def as_srgb(values: np.ndarray, primaries: list[tuple[float, float]], gamma: float | None) -> np.ndarray:
    """Return sRGB levels of values, (..., 3) in 0..255, of another space whose white is D65."""
    linear = icc.light(values / 255) if gamma is None else (values / 255) ** gamma
    return icc.levels(linear @ (np.linalg.inv(icc.xyz_matrix(SRGB_XY)) @ icc.xyz_matrix(primaries)).T)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize(("profile", "primaries", "gamma"), [(ADOBE, ADOBE_XY, 563 / 256), (P3, P3_XY, None)])
def test_an_embedded_profile_is_followed(
    tmp_path: Path, suffix: str, profile: bytes, primaries: list[tuple[float, float]], gamma: float | None
) -> None:
    picture = np.repeat(np.repeat(COLOURS, 8, 0), 8, 1)
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    Image.fromarray(picture).save(tmp_path / f"a{suffix}", icc_profile=profile, **options)
    with Image.open(tmp_path / f"a{suffix}") as stored:
        values = np.asarray(stored.convert("RGB"))
    photo = decode_photo(tmp_path / f"a{suffix}")
    assert photo.remark is None
    assert np.abs(photo.pixels - as_srgb(values, primaries, gamma)).max() < 1.5


def test_the_colours_of_adobe_rgb_are_those_that_were_photographed(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=ADOBE)
    found = read_photo(tmp_path / "a.png").astype(int)
    assert np.abs(found[0, 0] - (40, 180, 60)).max() <= 1
    assert np.abs(found[0, 1] - (233, 35, 35)).max() <= 1
    assert found[0, 2].tolist() == [found[0, 2, 0]] * 3  # grey stays grey


def test_a_space_with_another_white_keeps_its_greys(tmp_path: Path) -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    Image.fromarray(greys).save(tmp_path / "a.tif", icc_profile=matrix_profile(PROPHOTO, D50, 1.8))
    expected = icc.levels((greys / 255) ** 1.8)
    assert np.abs(read_photo(tmp_path / "a.tif") - expected).max() < 2


@pytest.mark.parametrize("profile", [
    ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), matrix_profile(SRGB, D65, None),
], ids=["LittleCMS", "ours"])  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_a_profile_that_is_srgb_changes_no_byte(tmp_path: Path, profile: bytes, mode: str) -> None:
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / "plain.png")
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / "with.png", icc_profile=profile)
    photo = decode_photo(tmp_path / "with.png")
    assert photo.remark is None
    np.testing.assert_array_equal(photo.pixels, read_photo(tmp_path / "plain.png"))


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_colours_are_converted_before_what_is_transparent_becomes_black(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 2), (106, 179, 72, 255))
    image.paste((106, 179, 72, 0), (0, 0, 2, 2))
    image = image.quantize(4) if mode == "P" else image
    image.save(tmp_path / "a.png", icc_profile=ADOBE)
    found = read_photo(tmp_path / "a.png").astype(int)
    assert found[:, :2].max() == 0
    assert np.abs(found[:, 2:] - (40, 180, 60)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_grey_is_converted_by_a_profile_of_grey(tmp_path: Path, mode: str, gamma: float) -> None:
    ramp = np.arange(256).reshape(8, 32)
    image = (
        Image.fromarray((ramp * 257).astype(np.uint16)) if mode == "I;16" else Image.fromarray(ramp.astype(np.uint8))
    )
    image.convert(mode).save(tmp_path / "a.png", icc_profile=icc.grey_profile(gamma))
    expected = icc.levels((ramp / 255) ** gamma)
    assert np.abs(read_photo(tmp_path / "a.png") - expected[..., None]).max() < 1.5


def test_16_bit_shadows_of_linear_grey_are_not_rounded_before_they_are_converted(tmp_path: Path) -> None:
    values = np.arange(0, 1024, 4, dtype=np.uint16).reshape(8, 32)  # 8 bits tell four of them apart
    Image.fromarray(values).save(tmp_path / "a.tif", icc_profile=icc.grey_profile(1.0))
    assert np.abs(read_photo(tmp_path / "a.tif") - icc.levels(values / 65535)[..., None]).max() < 1.5


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_grey_may_carry_a_profile_of_colours(tmp_path: Path, mode: str) -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(8, 32)
    image = Image.fromarray(ramp * 257) if mode == "I;16" else Image.fromarray(ramp.astype(np.uint8))
    image.save(tmp_path / "a.tif", icc_profile=ADOBE)
    assert np.abs(read_photo(tmp_path / "a.tif") - icc.levels((ramp / 255) ** (563 / 256))[..., None]).max() < 1.5


@pytest.mark.parametrize("inks", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 1, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_inks_are_converted_by_their_profile(tmp_path: Path, inks: tuple[int, ...]) -> None:
    image = Image.new("CMYK", (8, 8), tuple(255 * ink for ink in inks))
    image.save(tmp_path / "a.tif", icc_profile=icc.cmyk_profile())
    assert np.abs(read_photo(tmp_path / "a.tif")[0, 0] - icc.printed(inks)).max() < 6
    image.save(tmp_path / "a.jpg", quality=100, icc_profile=icc.cmyk_profile())
    assert np.abs(read_photo(tmp_path / "a.jpg")[0, 0] - icc.printed(inks)).max() < 6


def test_16_bit_colours_are_converted(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in COLOURS)
    (tmp_path / "a.png").write_bytes(png(rows, (b"iCCP", b"a\0\0" + zlib.compress(ADOBE)), bits=16))
    assert np.abs(read_photo(tmp_path / "a.png") - as_srgb(COLOURS, ADOBE_XY, 563 / 256)).max() < 1.5


def jpeg_2000_with(profile: bytes) -> bytes:
    """Return COLOURS, lossless, with the profile in the place where Pillow says "sRGB"."""
    content = encoded(COLOURS, "JPEG2000", irreversible=False)
    said = b"\0\0\0\x0fcolr\1\0\0\0\0\0\x10"
    outer = content.index(b"jp2h") - 4
    assert content.count(said) == 1
    box = (len(profile) + 11).to_bytes(4, "big") + b"colr\2\0\0" + profile
    longer = int.from_bytes(content[outer : outer + 4], "big") + len(box) - len(said)
    return (content[:outer] + longer.to_bytes(4, "big") + content[outer + 4 :]).replace(said, box)


def bmp_with(profile: bytes) -> bytes:
    """Return COLOURS as a BMP of version 5 with the profile at its end."""
    plain = encoded(COLOURS, "BMP")
    pixels = plain[54:]
    header = (124).to_bytes(4, "little") + plain[18:54].ljust(52, b"\0") + b"DEBM" + bytes(52)
    header += struct.pack("<III", 124 + len(pixels), len(profile), 0)
    assert len(header) == 124
    sizes = struct.pack("<IHHI", 14 + 124 + len(pixels) + len(profile), 0, 0, 14 + 124)
    return b"BM" + sizes + header + pixels + profile


@pytest.mark.parametrize("write", [jpeg_2000_with, bmp_with])
def test_profiles_that_pillow_does_not_read_are_followed(tmp_path: Path, write: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a.png").write_bytes(write(ADOBE))
    photo = decode_photo(tmp_path / "a.png")
    assert photo.remark is None
    assert np.abs(photo.pixels - as_srgb(COLOURS, ADOBE_XY, 563 / 256)).max() < 1.5
    (tmp_path / "a.png").write_bytes(write(b"no profile"))
    photo = decode_photo(tmp_path / "a.png")
    assert photo.remark == "unusable colour profile (it cannot be read), taken as sRGB"
    np.testing.assert_array_equal(photo.pixels, COLOURS)


# What only names a space ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "index", "is_adobe"),
    [(0xFFFF, "R03", True), (None, "R03", True), (2, None, True), (1, "R98", False), (0xFFFF, None, False),
     (1, "R03", False), (0xFFFF, "R98", False)],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_exif_names_adobe_rgb_without_a_profile(
    tmp_path: Path, suffix: str, space: int | None, index: str | None, is_adobe: bool
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "somebody"  # without a plain tag, Pillow writes none of the others
    if space is not None:
        exif.get_ifd(0x8769)[0xA001] = space
    if index is not None:
        exif.get_ifd(0x8769)[0xA005] = {1: index}
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    Image.new("RGB", (16, 16), (106, 179, 72)).save(tmp_path / f"a{suffix}", exif=exif, **options)
    expected = (40, 180, 60) if is_adobe else (106, 179, 72)
    assert np.abs(read_photo(tmp_path / f"a{suffix}")[0, 0].astype(int) - expected).max() <= 2


def png(rows: bytes, *chunks: tuple[bytes, bytes], bits: int = 8) -> bytes:
    """Return an RGB PNG of the size of COLOURS with further chunks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", COLOURS.shape[1], COLOURS.shape[0], bits, 2, 0, 0, 0))
    said = b"".join(chunk(*one) for one in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + said + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def numbers(*values: float) -> bytes:
    return struct.pack(f">{len(values)}I", *(round(value * 100_000) for value in values))


def chromaticities(primaries: list[tuple[float, float]]) -> bytes:
    return numbers(0.3127, 0.329, *(number for pair in primaries for number in pair))


ROWS = b"".join(b"\0" + row.tobytes() for row in COLOURS)
ADOBE_CHUNKS = ((b"gAMA", numbers(256 / 563)), (b"cHRM", chromaticities(ADOBE_XY)))


@pytest.mark.parametrize(
    ("chunks", "primaries", "gamma"),
    [
        (ADOBE_CHUNKS, ADOBE_XY, 563 / 256),
        ([(b"gAMA", numbers(1.0))], SRGB_XY, 1.0),
        ([(b"gAMA", numbers(1 / 1.8))], SRGB_XY, 1.8),
        ([(b"cICP", bytes((12, 13, 0, 1)))], P3_XY, None),
        ([*ADOBE_CHUNKS, (b"cICP", bytes((1, 13, 0, 1)))], SRGB_XY, None),
        ([*ADOBE_CHUNKS, (b"sRGB", b"\0")], SRGB_XY, None),
        ([(b"gAMA", numbers(0.45455))], SRGB_XY, None),
        ([(b"gAMA", numbers(0.45455)), (b"cHRM", chromaticities(SRGB_XY))], SRGB_XY, None),
    ],
    ids=["Adobe RGB", "linear", "old Macintosh", "cICP of P3", "cICP wins", "sRGB wins", "2.2", "sRGB spelt out"],
)
def test_the_chunks_of_a_png_are_followed(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]], primaries: list[tuple[float, float]], gamma: float | None
) -> None:
    (tmp_path / "a.png").write_bytes(png(ROWS, *chunks))
    photo = decode_photo(tmp_path / "a.png")
    assert photo.remark is None
    expected = as_srgb(COLOURS, primaries, gamma)
    assert np.abs(photo.pixels - expected).max() < 1.5
    if primaries is SRGB_XY and gamma is None:
        np.testing.assert_array_equal(photo.pixels, COLOURS)


# What makes no sense -------------------------------------------------------------------------------------------------

UNUSABLE = {
    "garbage": (b"no profile" * 40, "cannot be read"),
    "cut off": (ADOBE[:300], "is broken"),
    "of inks": (icc.cmyk_profile(), "is one for CMYK and the picture is RGB"),
    "of grey": (icc.grey_profile(2.2), "is one for GRAY and the picture is RGB"),
    "of Lab": (ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), "is one for Lab"),
    "all black": (matrix_profile(SRGB, D65, 255.0)[:-16] + b"curv\0\0\0\0\0\0\0\2\0\0\0\0", "its white is dark"),
    "too large": (ADOBE + bytes(17_000_000), "it takes"),
}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_broken_or_lying_profile_costs_no_photo(tmp_path: Path, kind: str, suffix: str) -> None:
    profile, reason = UNUSABLE[kind]
    Image.fromarray(COLOURS).save(tmp_path / f"a{suffix}", icc_profile=profile)
    photo = decode_photo(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(photo.pixels, COLOURS)
    assert photo.remark is not None
    assert reason in photo.remark
    assert photo.remark.endswith("taken as sRGB")


def test_a_profile_of_which_a_piece_is_missing_costs_no_photo(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(COLOURS).save(path, icc_profile=ADOBE + bytes(70_000), quality=100, subsampling=0)
    plain = tmp_path / "b.jpg"
    Image.fromarray(COLOURS).save(plain, quality=100, subsampling=0)
    path.write_bytes(path.read_bytes().replace(b"ICC_PROFILE\0\2\2", b"ICC_NOTHING\0\2\2"))
    photo = decode_photo(path)
    assert photo.remark == "unusable colour profile (it is incomplete), taken as sRGB"
    np.testing.assert_array_equal(photo.pixels, read_photo(plain))


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([(b"cICP", bytes((9, 16, 0, 1)))], "cICP 9/16 is not converted"),
        ([(b"cHRM", numbers(*[0.3] * 8))], "primaries on one line"),
        ([(b"cHRM", bytes(32))], "a chromaticity without light"),
        ([(b"gAMA", numbers(0.001))], "a tone curve that no picture has"),
    ],
)
def test_chunks_that_make_no_sense_cost_no_photo(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]], reason: str
) -> None:
    (tmp_path / "a.png").write_bytes(png(ROWS, *chunks))
    photo = decode_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.pixels, COLOURS)
    assert photo.remark is not None
    assert reason in photo.remark


def test_a_profile_too_large_for_pillow_is_followed_in_a_png(tmp_path: Path) -> None:
    # Tables of scanners and printers take megabytes; zeros behind the last tag mean nothing.
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=ADOBE + bytes(3_000_000))
    photo = decode_photo(tmp_path / "a.png")
    assert photo.remark is None
    assert np.abs(photo.pixels - as_srgb(COLOURS, ADOBE_XY, 563 / 256)).max() < 1.5


@pytest.mark.parametrize("seed", range(20))
def test_no_damage_to_a_profile_costs_a_photo(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray((ADOBE, icc.grey_profile(1.8), icc.cmyk_profile(), P3)[seed % 4])
    for place in rng.integers(0, min(len(content), 500), 10):
        content[place] = rng.integers(256)
    mode = ("RGB", "L", "CMYK", "P")[seed % 4]
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / "a.tif", icc_profile=bytes(content))
    assert read_photo(tmp_path / "a.tif").shape == COLOURS.shape
