import math

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.frames.clips import flat
from wildseg.frames.duplicates import KeptFrames, Looks, ahash, dhash, distance, phash

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
    ours = KeptFrames()
    for value in values:
        is_new = all(distance(value, other) > bits for other in kept)
        assert ours.add_if_new(Looks(value, False, bytes(48)), bits) == is_new
        kept += [value] * is_new


def test_the_filter_remembers_more_hashes_than_it_starts_with_room_for() -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64).tolist()
    kept = KeptFrames()
    assert all(kept.add_if_new(Looks(value, False, bytes(48)), 0) for value in values)
    assert not any(kept.add_if_new(Looks(value, False, bytes(48)), 0) for value in values)


def test_a_brighter_smaller_recompressed_copy_is_near_and_another_scene_far() -> None:
    image = scene(3, 240, 320)
    copy = np.asarray(Image.fromarray((image * 0.9 + 10).astype(np.uint8)).resize((200, 150)))
    assert distance(phash(image), phash(copy)) <= 4
    assert distance(phash(image), phash(scene(4, 240, 320))) > 12
