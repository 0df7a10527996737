import numpy as np
import pytest

from wildseg.crf.prior import weighed


def test_a_pixel_shows_a_class_as_likely_as_bayes_rule_has_it() -> None:
    rng = np.random.default_rng(0)
    priors = np.array([0.9, 0.3, 0.6])
    likelihoods = rng.uniform(0.01, 1, (3, 4, 5))
    found = weighed(likelihoods.astype(np.float32), priors, 1.0)
    for row, column in np.ndindex(4, 5):
        joint = [priors[index] * likelihoods[index, row, column] for index in range(3)]
        shares = found[:, row, column] / found[:, row, column].sum()
        assert shares == pytest.approx([value / sum(joint) for value in joint], rel=1e-5)


def test_an_exponent_of_0_leaves_maps_as_they_are_and_one_of_2_counts_a_label_twice() -> None:
    maps = np.random.default_rng(1).random((2, 3, 3)).astype(np.float16)
    priors = np.array([0.0, 0.5])
    assert weighed(maps, priors, 0.0).dtype == np.float32
    np.testing.assert_array_equal(weighed(maps, priors, 0.0), maps.astype(np.float32))
    np.testing.assert_allclose(weighed(maps, priors, 2.0), weighed(weighed(maps, priors, 1.0), priors, 1.0))
    assert weighed(maps[:0], priors[:0], 1.0).shape == (0, 3, 3)
