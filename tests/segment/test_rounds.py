"""Masks of later rounds, against plain loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.segment.networks import stripes, tiny
from wildseg.segment.predict import Predictor
from wildseg.segment.rounds import confident_mask, relabel


@pytest.mark.parametrize("ids", [[0, 1, 2, 3], [1, 3], [2], []])
@pytest.mark.parametrize("least", [0.0, 0.5, 1.0])
def test_a_pixel_is_the_best_of_its_frames_classes_where_that_is_probable_enough(ids: list[int], least: float) -> None:
    scores = np.random.default_rng(0).exponential(size=(4, 5, 7)) ** 3
    probabilities = (scores / scores.sum(0)).astype(np.float32)
    mask = confident_mask(probabilities, ids, least)
    assert mask.dtype == np.uint8
    for y, x in np.ndindex(5, 7):
        best = max(ids, key=lambda id_: probabilities[id_, y, x]) if ids else None
        sure = best is not None and probabilities[best, y, x] >= least
        assert mask[y, x] == (best if sure else 255)


def test_a_class_that_the_labels_exclude_leaves_its_pixels_open_and_gives_them_to_no_other() -> None:
    probabilities = np.array([0.0, 0.95, 0.05]).reshape(3, 1, 1)
    assert confident_mask(probabilities, [1, 2], 0.9) == 1
    assert confident_mask(probabilities, [2], 0.9) == 255


def test_frames_are_predicted_one_by_one_with_ids_of_their_own() -> None:
    predictor = Predictor(tiny(), (1, 2, 3))
    images = {"a": stripes(0)[0], "b": stripes(1, 9, 20)[0]}
    ids = {"a": [1, 2, 3], "b": [2]}
    found = dict(relabel(predictor, images, images.__getitem__, ids.__getitem__, 0.0))
    np.testing.assert_array_equal(found["a"], next(predictor.predict([images["a"]])))
    np.testing.assert_array_equal(found["b"], np.full((9, 20), 2))
