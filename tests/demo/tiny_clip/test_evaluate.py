"""Numbers of the recipe's own measurement, against another library and by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from wildseg_demo.tiny_clip.evaluate import average_precision, f1, presence
from wildseg_demo.world.surfaces import Surface


def test_average_precision_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, present = rng.random(50).astype(np.float32), rng.random(50) > 0.7
    assert average_precision(scores, present) == pytest.approx(average_precision_score(present, scores))


def test_f1_is_that_of_scikit_learn_over_all_labels() -> None:
    rng = np.random.default_rng(0)
    predicted, present = rng.random((30, 4)) > 0.5, rng.random((30, 4)) > 0.5
    assert f1(predicted, present) == pytest.approx(f1_score(present.ravel(), predicted.ravel()))


def test_a_few_pixels_of_a_surface_are_neither_present_nor_absent() -> None:
    mask = np.full((1, 100, 100), Surface.LAWN, np.uint8)
    mask[0, 0, :10] = Surface.WATER
    present, asked = presence(mask)
    assert present[0].tolist() == [surface == Surface.LAWN for surface in Surface]
    assert asked[0].tolist() == [surface != Surface.WATER for surface in Surface]
