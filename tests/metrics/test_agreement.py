"""Agreement of two labellers, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from wildseg.metrics.agreement import agreement, kappa


def test_the_worked_example_of_a_two_by_two_table() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: p_o = .7, p_e = .5 * .6 + .5 * .4 = .5, kappa = .4
    one = np.repeat([True, True, False, False], [20, 5, 10, 15])[:, None]
    other = np.repeat([True, False, True, False], [20, 5, 10, 15])[:, None]
    found = agreement(one, other)
    assert found.kappa == pytest.approx([0.4])
    assert found.share == pytest.approx([0.7])
    assert found.overall == found.exact == pytest.approx(0.7)
    assert found.mean_kappa == found.pooled_kappa == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.random((40, 4)) < [0.1, 0.5, 0.7, 0.9]
    other = np.where(rng.random((40, 4)) < 0.3, rng.random((40, 4)) < 0.5, one)
    found = agreement(one, other)
    expected = [cohen_kappa_score(a, b) for a, b in zip(one.T, other.T, strict=True)]
    np.testing.assert_allclose(found.kappa, expected)
    assert found.mean_kappa == pytest.approx(np.mean(expected))
    assert found.pooled_kappa == pytest.approx(cohen_kappa_score(one.ravel(), other.ravel()))
    assert found.overall == pytest.approx(accuracy_score(one.ravel(), other.ravel()))
    assert found.exact == pytest.approx(accuracy_score(one, other))


def test_agreement_is_one_with_oneself_minus_one_with_the_opposite_and_the_same_both_ways() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 30, 3)) < 0.5
    half = np.arange(30) % 2 == 0
    np.testing.assert_allclose(kappa(one, one), 1)
    np.testing.assert_allclose(kappa(half[:, None], ~half[:, None]), -1)
    np.testing.assert_array_equal(kappa(one, other), kappa(other, one))


def test_a_class_that_both_always_or_never_name_has_no_kappa_and_counts_in_no_mean() -> None:
    one = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 0]], bool)
    other = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 1]], bool)
    found = agreement(one, other)
    assert np.isnan(found.kappa).tolist() == [True, True, False]
    assert found.mean_kappa == found.kappa[2] == pytest.approx(0.5)
    np.testing.assert_allclose(found.share, [1, 1, 0.75])


def test_one_who_always_says_yes_agrees_by_chance_alone() -> None:
    assert kappa(np.ones((4, 1), bool), np.array([[1], [0], [1], [0]], bool)) == pytest.approx([0])
