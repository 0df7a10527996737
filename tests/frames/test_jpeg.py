"""JPEGs without what does not belong to their pixels: the same pixels, and nothing that was to be left out."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.frames.corpus import encoded, flipped
from wildseg.frames.jpeg import strip_metadata
from wildseg.frames.photos import same_pixels

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 61, 3), dtype=np.uint8))
PICTURE = NOISE.filter(ImageFilter.GaussianBlur(2))
SECRET = b"51.4778N 0.0015W"


def pixels_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def with_secrets(content: bytes) -> bytes:
    """Return a JPEG with EXIF, a comment, an unknown segment and a film behind its end."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body

    thumbnail = segment(0xE0, b"JFIF\0\1\2\1\0\x48\0\x48\1\1" + SECRET[:3])
    hidden = thumbnail + b"".join(segment(m, b"Exif\0\0" + SECRET) for m in (0xE1, 0xE2, 0xEB, 0xED, 0xFE, 0xE0))
    return content[:2] + hidden + content[2:] + b"\xff\xd8" + SECRET


KINDS = {
    "plain": {},
    "fine": {"quality": 100, "subsampling": 0},
    "coarse": {"quality": 20, "subsampling": 2},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True},
    "with restarts": {"restart_marker_blocks": 2},
    "RGB inside": {"keep_rgb": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_the_same_and_the_rest_is_gone(kind: str) -> None:
    content = with_secrets(encoded(PICTURE, "JPEG", **KINDS[kind]))
    plain = strip_metadata(content)
    assert plain is not None
    np.testing.assert_array_equal(pixels_of(plain), pixels_of(content))
    assert SECRET not in plain
    assert b"Exif" not in plain
    assert SECRET[:3] not in plain[:60]
    assert plain.startswith(b"\xff\xd8")
    assert plain.endswith(b"\xff\xd9")
    assert strip_metadata(plain) == plain
    assert same_pixels(plain, pixels_of(content))
    assert not same_pixels(plain, np.asarray(PICTURE))


def test_what_tells_the_colour_transform_is_kept() -> None:
    # Without the segment APP14, these three channels would be taken for brightness and two differences of colour.
    content = encoded(PICTURE, "JPEG", keep_rgb=True)
    assert b"Adobe" in (strip_metadata(content) or b"")


def test_a_camera_without_jfif_is_read_as_before() -> None:
    content = encoded(PICTURE, "JPEG")
    bare = content[:2] + content[content.index(b"\xff\xdb") :]
    plain = strip_metadata(bare)
    assert plain == bare
    np.testing.assert_array_equal(pixels_of(plain), pixels_of(content))


def test_bytes_between_markers_may_be_filled_with_ones() -> None:
    content = encoded(PICTURE, "JPEG")
    place = content.index(b"\xff\xdb")
    assert strip_metadata(content[:place] + b"\xff\xff\xff" + content[place:]) == strip_metadata(content)


def scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan comes many times."""
    content = encoded(PICTURE, "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + content[-2:]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"no picture" * 9,
        encoded(PICTURE, "PNG"),
        encoded(PICTURE.convert("L"), "JPEG"),
        encoded(PICTURE.convert("CMYK"), "JPEG"),
        encoded(PICTURE, "JPEG").replace(b"\xff\xc0", b"\xff\xc9"),  # as if it were coded arithmetically
        encoded(PICTURE, "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),  # 12 bits
        encoded(PICTURE, "JPEG").replace(b"\0\x2d\0\x3d", b"\0\0\0\x3d"),  # a height that is told later
        scans(100),
    ],
    ids=["empty", "one byte", "start", "nothing", "text", "PNG", "grey", "CMYK", "arithmetic", "12 bits", "no height",
         "scans without end"],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_be_encoded_again(content: bytes) -> None:
    assert strip_metadata(content) is None


def test_what_is_cut_off_anywhere_is_left_to_be_encoded_again() -> None:
    content = encoded(PICTURE, "JPEG", progressive=True)
    assert [n for n in range(len(content)) if strip_metadata(content[:n]) is not None] == []


@pytest.mark.parametrize("seed", range(10))
def test_damage_raises_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for kind in KINDS.values():
        content = encoded(PICTURE, "JPEG", **kind)
        damaged = flipped(content, rng.integers(0, 8 * 700, 8).tolist())
        plain = strip_metadata(damaged)
        assert plain is None or (plain[:2], plain[-2:]) == (b"\xff\xd8", b"\xff\xd9")
        assert same_pixels(plain or b"", pixels_of(content)) in (True, False)
