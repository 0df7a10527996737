from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score

from wildseg.core.errors import DataError
from wildseg.metrics import intervals
from wildseg.metrics.consistency import equal_pixels, neighbours, pair_counts


@dataclass(frozen=True)
class Frame:
    source: str
    time_s: float | None


def noisy(seed: int) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(0, 4, (9, 7)).astype(np.uint8)
    ids[seed % 9, :3] = 255
    return ids


def test_agreement_is_accuracy_and_jaccard_index_of_scikit_learn_on_what_both_decide() -> None:
    pairs = [(noisy(2 * seed), noisy(2 * seed + 1)) for seed in range(4)]
    counts = sum(pair_counts(one, other, 6) for one, other in pairs)
    ones, others = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    both = (ones != 255) & (others != 255)
    assert equal_pixels(counts) == pytest.approx(accuracy_score(ones[both], others[both]))
    expected = jaccard_score(ones[both], others[both], average="macro")
    assert intervals.miou(counts) == pytest.approx(expected)


def test_agreement_is_symmetric_and_full_with_itself() -> None:
    one, other = noisy(0), noisy(1)
    there, back = pair_counts(one, other, 4), pair_counts(other, one, 4)
    assert there[[0, 2, 1]].tolist() == back.tolist()
    assert equal_pixels(there) == equal_pixels(back)
    assert equal_pixels(pair_counts(one, one, 4)) == intervals.miou(pair_counts(one, one, 4)) == 1


def test_a_thin_class_weighs_in_the_iou_what_it_does_not_in_the_pixels() -> None:
    one = np.full((10, 10), 1, np.uint8)
    other = one.copy()
    other[0, :2] = 2  # 2 of 100 pixels
    counts = pair_counts(one, other, 3)
    assert equal_pixels(counts) == 0.98
    assert intervals.miou(counts) == 0.98 / 2


def test_what_nobody_decides_is_not_defined() -> None:
    one = np.full((2, 2), 255, np.uint8)
    assert np.isnan(equal_pixels(pair_counts(one, noisy(0)[:2, :2], 4)))


def test_images_of_other_sizes_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(9, 7\), found \(3, 7\)"):
        pair_counts(noisy(0), noisy(1)[:3], 4)


def test_neighbours_are_of_one_video_and_close_in_time() -> None:
    a, b, c, d = (Frame("a", time) for time in (0.0, 2.0, 8.0, 14.5))
    e, f, g, h = Frame("b", 1.0), Frame("b", 1.5), Frame("photos", None), Frame("photos", None)
    assert neighbours([a, b, c, d, e, f, g, h]) == {a: b, b: c, e: f}
    assert neighbours([]) == {}
