"""Run lengths: golden texts of COCO's own tool and of Label Studio's, plain loops, and any mask there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wildseg.exchange import brush_rle, rle

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))
# By pycocotools 2.0 and label-studio-sdk 2.1: `encode` and `mask2rle` of the masks of `random`.
COCO = "011010O0011O30O1NO20N001100O000102NM0130"
BRUSH = [0, 0, 0, 24, 57, 27, 253, 176, 8, 255, 227, 0, 143, 252]


def random(seed: int, height: int, width: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < share


def slow_counts(flat: np.ndarray) -> list[int]:
    counts, value = [0], False
    for pixel in flat.tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def test_compressed_counts_are_those_of_cocos_own_tool() -> None:
    mask = random(3, 7, 11, 0.4)
    assert rle.to_coco(mask) == COCO
    assert rle.from_coco(COCO, (7, 11)).tolist() == mask.tolist()


def test_cocos_documented_examples() -> None:
    assert rle.counts_of(np.array([0, 0, 1, 1, 1, 0, 1], bool)).tolist() == [2, 3, 1, 1]
    assert rle.counts_of(np.array([1, 1, 1, 1, 1, 1, 0], bool)).tolist() == [0, 6, 1]


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_any_mask_comes_back(mask: np.ndarray) -> None:
    assert rle.counts_of(mask.ravel()).tolist() == slow_counts(mask.ravel())
    assert np.array_equal(rle.pixels_of(rle.counts_of(mask.ravel()), mask.size), mask.ravel())
    assert np.array_equal(rle.from_coco(rle.to_coco(mask), mask.shape), mask)
    assert np.array_equal(rle.from_coco(slow_counts(mask.T.ravel()), mask.shape), mask)
    assert np.array_equal(brush_rle.decode(brush_rle.encode(mask), mask.shape), mask)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=12))
def test_counts_of_any_size_come_back(counts: list[int]) -> None:
    values = counts[:3] + [counts[place] - counts[place - 2] for place in range(3, len(counts))]
    assert rle.counts_from_coco("".join(map(rle._letters, values))) == counts


def test_a_run_longer_than_the_widest_length_is_split() -> None:
    mask = np.zeros((300, 300), bool)
    mask[5:, :] = True
    assert np.array_equal(brush_rle.decode(brush_rle.encode(mask), mask.shape), mask)
    assert len(brush_rle.encode(mask)) < 40


def test_bytes_of_label_studio_are_read() -> None:
    mask = random(4, 2, 3, 0.5)
    assert brush_rle.decode(BRUSH, (2, 3)).tolist() == mask.tolist()


def test_a_brush_counts_from_half_its_opacity_and_whatever_its_colour() -> None:
    bits = f"{16:032b}" + "00111" + "0010001101111111"  # four pixels of four channels
    for alpha in (0, 127, 128, 255):
        bits += "00" + "0" + "011" + "".join(f"{value:08b}" for value in (7, 8, 9, alpha))
    bits += "0" * (-len(bits) % 8)
    content = [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]
    assert brush_rle.decode(content, (2, 2)).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0", "expected run lengths of 6 pixels, found 0"),
        ("07", "expected run lengths of 6 pixels, found 7"),
        ("0~", "expected compressed counts"),
        ("é", "expected compressed counts"),
        ("P", "cut off"),
        ("oooooooooo", "expected compressed counts"),
        ([3, -1, 4], "not negative"),
        ([2, 3], "expected run lengths of 6 pixels, found 5"),
    ],
)
def test_wrong_counts_are_refused(content: str | list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rle.from_coco(content, (2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BRUSH[:9], "cut off"),
        ([], "cut off"),
        ([0, 0, 0, 28, *BRUSH[4:]], "expected 6 pixels, found 7"),
        ([0, 0, 0, 24, 57, 27, 253, 255, 255, 255, 255, 255], "longer than the image"),
        ([300, 0], "expected bytes"),
        ("text", "expected bytes"),
    ],
)
def test_wrong_brushes_are_refused(content: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        brush_rle.decode(content, (2, 3))
