"""Smoothing over time, by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.labels.smoothing import smooth


def test_a_frame_is_the_mean_of_its_neighbours_by_how_near_they_are() -> None:
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    found = smooth(scores, ["a"] * 3, [0.0, 1.0, 3.0], window=2.0)
    # Weights: 1 and .5 between the first two; the third is exactly 2 s from the second, where the triangle ends.
    np.testing.assert_allclose(found, [[1 / 3, 2 / 3], [2 / 3, 1 / 3], [0.5, 0.5]])


def test_videos_do_not_mix_and_photos_stay_as_they_are() -> None:
    scores = np.array([[0.0], [1.0], [0.4], [0.8]])
    found = smooth(scores, ["a", "b", "a", "a"], [0.0, 0.0, None, None], window=100.0)
    np.testing.assert_array_equal(found, scores)
    np.testing.assert_array_equal(scores, [[0.0], [1.0], [0.4], [0.8]])


@pytest.mark.parametrize("window", [0.01, 0.7, 3.0, 1e6])
def test_frames_in_any_order_are_smoothed_as_by_brute_force(window: float) -> None:
    rng = np.random.default_rng(0)
    scores, sources = rng.random((40, 3)), rng.choice(["a", "b"], 40).tolist()
    times = [None if rng.random() < 0.1 else float(time) for time in rng.integers(0, 20, 40) * 0.35]
    expected = scores.copy()
    for i in range(40):
        if times[i] is None:
            continue
        total, weight = np.zeros(3), 0.0
        for j in range(40):
            if times[j] is not None and sources[j] == sources[i]:
                own = max(0.0, 1 - abs(times[i] - times[j]) / window)
                total, weight = total + own * scores[j], weight + own
        expected[i] = total / weight
    np.testing.assert_allclose(smooth(scores, sources, times, window), expected, atol=1e-12)


def test_constant_scores_stay_and_all_stay_between_lowest_and_highest() -> None:
    np.testing.assert_allclose(smooth(np.full((5, 2), 0.3), ["a"] * 5, [0.0, 0.1, 0.2, 0.9, 4.0], 1.0), 0.3)
    scores = np.random.default_rng(1).random((30, 4))
    found = smooth(scores, ["a"] * 30, [i / 5 for i in range(30)], 1.0)
    assert (found >= scores.min(0)).all()
    assert (found <= scores.max(0)).all()
    assert found.std() < scores.std()
