import math

import numpy as np
import pytest

from tests.frames.clips import flat, samples
from wildseg.core.errors import ParamsError
from wildseg.methods.keyframes.absdiff import select


def kept(images: list[np.ndarray], **options: object) -> list[int]:
    return [frame.index for frame, _ in select(samples(images), **options)]


RAMP = [flat(20 * n) for n in range(10)]
BLACK_AND_WHITE = [flat(255 * (n % 2)) for n in range(6)]


@pytest.mark.parametrize("reference", ["previous", "last_kept"])
def test_a_constant_video_keeps_one_frame(reference: str) -> None:
    assert kept([flat(77)] * 8, threshold=30, reference=reference) == [0]


@pytest.mark.parametrize("reference", ["previous", "last_kept"])
def test_black_and_white_in_turn_keeps_all_unless_the_threshold_is_255(reference: str) -> None:
    assert kept(BLACK_AND_WHITE, threshold=254.9, reference=reference) == list(range(6))
    assert kept(BLACK_AND_WHITE, threshold=255, reference=reference) == [0]
    assert [score for _, score in select(samples(BLACK_AND_WHITE))] == [math.inf] + [255.0] * 5


@pytest.mark.parametrize("reference", ["previous", "last_kept"])
def test_a_negative_threshold_keeps_all(reference: str) -> None:
    assert kept([flat(5)] * 4, threshold=-1, reference=reference) == [0, 1, 2, 3]


def test_a_slow_drift_is_seen_from_the_last_kept_frame_only() -> None:
    assert kept(RAMP, threshold=30, reference="previous") == [0]
    assert kept(RAMP, threshold=30, reference="last_kept") == [0, 2, 4, 6, 8]
    assert kept(RAMP, threshold=20, reference="previous") == [0]  # it must exceed the threshold, not reach it
    assert kept(RAMP, threshold=19.99, reference="previous") == list(range(10))


def test_colour_counts_as_its_grey_of_rec601() -> None:
    red, green = np.zeros((2, 4, 4, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    assert [score for _, score in select(samples([red, green]), threshold=0)] == [math.inf, 150 - 76]


def test_a_change_of_size_compares_at_the_earlier_size() -> None:
    images = [flat(10, 12, 16), flat(10, 30, 40), flat(60, 6, 8), flat(60, 12, 16)]
    assert kept(images, threshold=30, reference="last_kept") == [0, 2]
    assert kept(images, threshold=30, reference="previous") == [0, 2]


def test_shrinking_first_averages_fine_texture_away() -> None:
    fine = np.indices((24, 32)).sum(axis=0) % 2 * 255
    images = [fine.astype(np.uint8), (255 - fine).astype(np.uint8)]
    assert kept(images, threshold=30) == [0, 1]
    assert kept(images, threshold=30, width=16) == [0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "last"}, r"absdiff\.reference: .*'last'; did you mean 'last_kept'"),
        ({"threshold": "high"}, r"absdiff\.threshold: expected a number, found 'high'"),
        ({"width": 0}, r"absdiff\.width: expected a whole number from 1 or null, found 0"),
        ({"width": 1.5}, r"absdiff\.width: expected a whole number"),
        ({"threshold": None}, r"absdiff\.threshold"),
        ({"threshold": float("nan")}, r"absdiff\.threshold"),
    ],
)
def test_options_that_mean_nothing_are_refused_at_once(options: dict[str, object], message: str) -> None:
    with pytest.raises(ParamsError, match=r"extract\.options\." + message):
        select([], **options)
