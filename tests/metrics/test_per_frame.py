import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from wildseg.metrics.per_frame import disagreement, frame_ious, id_shares


def test_disagreement_counts_only_pixels_that_both_decide() -> None:
    one = np.array([[1, 1, 2, 255]], np.uint8)
    other = np.array([[1, 2, 255, 1]], np.uint8)
    assert disagreement(one, other) == disagreement(other, one) == 1 / 2
    assert disagreement(one, one) == 0
    assert np.isnan(disagreement(one, np.full_like(one, 255)))


def test_shares_of_ids_add_up_to_one() -> None:
    ids = np.array([[0, 3, 3, 255]], np.uint8)
    shares = id_shares(ids)
    assert shares.sum() == 1
    assert shares[[0, 3, 255]].tolist() == [0.25, 0.5, 0.25]
    assert id_shares(np.zeros((0, 4), np.uint8)).sum() == 0


def test_ious_of_a_frame_are_those_of_scikit_learn() -> None:
    noise = np.random.default_rng(0)
    truth, ids = noise.integers(0, 4, (2, 9, 7)).astype(np.uint8)
    truth[0] = 255
    known = truth != 255
    mean, each = frame_ious(truth, ids, 6)
    expected = jaccard_score(truth[known], ids[known], average=None, labels=range(4))
    np.testing.assert_allclose(each[:4], expected)
    assert np.isnan(each[4:]).all()
    assert mean == pytest.approx(expected.mean())


def test_a_frame_without_known_pixels_has_no_iou() -> None:
    mean, each = frame_ious(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8), 3)
    assert np.isnan(mean)
    assert np.isnan(each).all()
