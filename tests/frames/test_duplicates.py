import io
import json
import math

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.frames.clips import flat
from wildseg.frames.duplicates import DuplicateFilter, ImageSignature, ahash, dhash, distance, phash, signature_of

hashes = st.integers(0, 2**64 - 1)


def scene(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """Smooth colour, as a photograph is at a coarse scale: (height, width, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def as_number(theirs: imagehash.ImageHash) -> int:
    return int(str(theirs), 16)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ahash, imagehash.average_hash), (dhash, imagehash.dhash), (phash, imagehash.phash)],
    ids=["ahash", "dhash", "phash"],
)
def test_hashes_are_those_of_the_imagehash_package(ours, theirs) -> None:  # noqa: ANN001
    for seed in range(40):
        image = scene(seed, 40 + seed, 90 - seed)
        grey = np.repeat(image[..., :1], 3, axis=2)
        assert ours(grey) == as_number(theirs(Image.fromarray(grey)))
        # In colour, the two greys may differ by one level where they round.
        assert distance(ours(image), as_number(theirs(Image.fromarray(image)))) <= 2


@pytest.mark.parametrize("level", [1, 90, 255])
def test_phash_of_a_flat_image_has_exactly_the_first_bit(level: int) -> None:
    assert phash(flat(level)) == 1 << 63


def test_phash_of_a_ramp_has_exactly_the_first_bit() -> None:
    ramp = np.repeat(np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))[..., None], 3, axis=2)
    assert phash(ramp) == 1 << 63


def test_phash_of_the_negative_differs_in_62_bits() -> None:
    # Distinct values, none on the median: all but the constant term and the middle one swap sides.
    image = np.repeat(np.random.default_rng(1).integers(100, 156, (32, 32, 1)).astype(np.uint8), 3, axis=2)
    assert distance(phash(image), phash(255 - image)) == 62


def test_phash_is_the_cosine_transform_by_its_definition() -> None:
    image = np.repeat(np.random.default_rng(2).integers(0, 256, (32, 32, 1)).astype(np.uint8), 3, axis=2)
    grey, low = image[..., 0].astype(float), np.zeros((8, 8))
    for v in range(8):
        for u in range(8):
            for y in range(32):
                for x in range(32):
                    wave = math.cos(math.pi * v * (2 * y + 1) / 64) * math.cos(math.pi * u * (2 * x + 1) / 64)
                    low[v, u] += 4 * grey[y, x] * wave
    bits = (low > np.median(low)).ravel()
    assert phash(image) == sum(1 << (63 - i) for i in range(64) if bits[i])


@settings(deadline=None, max_examples=60)
@given(hashes, hashes)
def test_distance_counts_differing_bits(first: int, second: int) -> None:
    assert distance(first, first) == 0
    assert distance(first, second) == distance(second, first)
    assert distance(first, second) == sum(a != b for a, b in zip(f"{first:064b}", f"{second:064b}", strict=True))


@settings(deadline=None, max_examples=60)
@given(st.lists(hashes, max_size=30), st.integers(0, 64))
def test_the_filter_keeps_greedily_in_order(values: list[int], bits: int) -> None:
    kept: list[int] = []
    ours = DuplicateFilter()
    for value in values:
        is_new = all(distance(value, other) > bits for other in kept)
        assert ours.add_if_new(ImageSignature(value, False, bytes(48)), bits) == is_new
        kept += [value] * is_new


def test_the_filter_remembers_more_hashes_than_it_starts_with_room_for() -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64).tolist()
    kept = DuplicateFilter()
    assert all(kept.add_if_new(ImageSignature(value, False, bytes(48)), 0) for value in values)
    assert not any(kept.add_if_new(ImageSignature(value, False, bytes(48)), 0) for value in values)


def test_a_brighter_smaller_recompressed_copy_is_near_and_another_scene_far() -> None:
    image = scene(3, 240, 320)
    copy = np.asarray(Image.fromarray((image * 0.9 + 10).astype(np.uint8)).resize((200, 150)))
    assert distance(phash(image), phash(copy)) <= 4
    assert distance(phash(image), phash(scene(4, 240, 320))) > 12


# Flat pictures --------------------------------------------------------------------------------------------------------

BITS = 4
COLOURS = [(200, 40, 40), (40, 180, 60), (40, 60, 200), (128, 128, 128), (0, 0, 0), (255, 255, 255), (0, 4, 9)]


def kept(images: list[np.ndarray]) -> list[int]:
    """Return which of the pictures the filter keeps."""
    frames = DuplicateFilter()
    return [n for n, image in enumerate(images) if frames.add_if_new(signature_of(image), BITS)]


def area(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((60, 80, 3), colour, np.uint8)


def ramp(colour: tuple[int, int, int], to: tuple[int, int, int], *, down: bool = False) -> np.ndarray:
    """Return (60, 80, 3) uint8 that changes evenly from one colour to another, to the right or down."""
    share = np.linspace(0, 1, 80 if not down else 60)[:, None]
    row = ((1 - share) * colour + share * to).round().astype(np.uint8)
    return np.repeat(row[:, None], 80, axis=1) if down else np.repeat(row[None], 60, axis=0)


def faint(colour: tuple[int, int, int], strength: int) -> np.ndarray:
    """Return one colour under a pattern of few levels, the same for all colours."""
    pattern = np.random.default_rng(5).integers(-strength, strength + 1, (6, 8, 1)).repeat(10, 0).repeat(10, 1)
    return np.clip(np.array(colour) + pattern, 0, 255).astype(np.uint8)


def vignette(colour: tuple[int, int, int]) -> np.ndarray:
    """Return a wall that darkens towards its corners, as lenses make it."""
    y, x = np.mgrid[-1:1:60j, -1:1:80j]
    return (np.array(colour) * (1 - 0.15 * (x**2 + y**2)[..., None])).round().astype(np.uint8)


def lamp(x: int, y: int) -> np.ndarray:
    night = np.zeros((60, 80, 3), np.uint8)
    night[y : y + 6, x : x + 6] = (60, 55, 40)
    return night


FLAT = {
    "one colour": [area(colour) for colour in COLOURS],
    "ramps": [ramp((0, 0, 0), colour) for colour in COLOURS[:4]],
    "ramps down": [ramp((250, 250, 250), colour, down=True) for colour in COLOURS[:3]],
    "two halves": [np.hstack([area(a), area(b)]) for a, b in (COLOURS[:2], COLOURS[1:3], COLOURS[1::-1])],
    "faint patterns": [faint(colour, 3) for colour in COLOURS[:4]],
    "low contrast": [faint(colour, 10) for colour in COLOURS[:4]],
    "vignettes": [vignette(colour) for colour in COLOURS[:4]],
    "nights": [*map(area, ((2, 2, 4), (9, 8, 3), (3, 8, 3), (14, 14, 16))), lamp(10, 10), lamp(60, 40), lamp(30, 8)],
}


@pytest.mark.parametrize("kind", FLAT)
def test_flat_pictures_of_other_colours_are_all_kept(kind: str) -> None:
    assert kept(FLAT[kind]) == list(range(len(FLAT[kind])))


@pytest.mark.parametrize("kind", FLAT)
def test_a_flat_picture_that_comes_again_is_dropped(kind: str) -> None:
    again = [np.repeat(np.repeat(image, 2, axis=0), 2, axis=1) for image in FLAT[kind]]  # of another size
    assert kept(FLAT[kind] + again) == list(range(len(FLAT[kind])))


@pytest.mark.parametrize("quality", [75, 95])
def test_a_compressed_copy_of_a_flat_picture_is_dropped(quality: int) -> None:
    for image in FLAT["one colour"]:
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG", quality=quality)
        assert kept([image, np.asarray(Image.open(content))]) == [0]


def test_a_picture_that_is_not_flat_is_compared_by_its_hash_alone() -> None:
    image = scene(3, 240, 320)
    darker = (image * 0.8).astype(np.uint8)
    assert not signature_of(image).flat
    assert not signature_of(darker).flat
    assert kept([image, darker]) == [0]


def test_looks_are_kept_as_json_and_read_back() -> None:
    signature = signature_of(scene(1))
    assert ImageSignature.from_record(json.loads(json.dumps(signature.record()))) == signature
    for record in (
        None,
        7,
        [],
        [1, 2, 3],
        [-1, True, "00" * 48],
        [1, True, "00"],
        [1, True, "zz" * 48],
        [1, 1, "0" * 96],
    ):
        assert ImageSignature.from_record(record) is None
