from dataclasses import dataclass

import numpy as np

from wildseg.labels.priors import decided_by_a_person, label_priors

NOBODY = np.zeros((1, 3), bool)


@dataclass
class Ticks:
    labels: np.ndarray
    ticked: np.ndarray


def test_scores_are_divided_by_the_largest_of_the_labels() -> None:
    scores, present = np.array([[0.8, 0.2, 0.9]]), np.array([[True, True, False]])
    np.testing.assert_allclose(label_priors(scores, present, NOBODY), [[1.0, 0.25, 0.0]])
    np.testing.assert_allclose(label_priors(scores / 100, present, NOBODY), [[1.0, 0.25, 0.0]])


def test_what_a_person_decided_is_certain() -> None:
    scores, present = np.array([[0.8, 0.2, 0.4]]), np.ones((1, 3), bool)
    np.testing.assert_allclose(label_priors(scores, present, np.array([[False, True, False]])), [[1.0, 1.0, 0.5]])
    # The others lose nothing by it, however low a method's scores are; nor by one that is not there.
    np.testing.assert_allclose(label_priors(scores / 10, present, np.array([[False, True, False]])), [[1.0, 1.0, 0.5]])
    absent = np.array([[True, False, True]])
    np.testing.assert_allclose(label_priors(scores, absent, np.array([[False, True, False]])), [[1.0, 0.0, 0.5]])


def test_a_label_is_never_impossible_and_labels_without_scores_are_alike() -> None:
    present = np.array([[True, True, False]])
    assert label_priors(np.array([[0.5, 0.0, 0.0]]), present, NOBODY).tolist() == [[1.0, 1e-5, 0.0]]
    assert label_priors(np.zeros((1, 3)), present, NOBODY).tolist() == [[1.0, 1.0, 0.0]]
    assert label_priors(np.ones((1, 3)), ~present & False, NOBODY).tolist() == [[0.0, 0.0, 0.0]]
    assert label_priors(np.zeros((0, 3)), np.zeros((0, 3), bool), np.zeros((0, 3), bool)).shape == (0, 3)


def test_a_person_decided_all_of_a_corrected_frame_and_what_a_tile_was_ticked_with() -> None:
    labels = np.zeros((1, 2, 3), bool)
    labels[0, 0, 0] = labels[0, 1, 1] = True
    ticks = {"b": Ticks(labels, np.array([[True, False]])), "z": Ticks(labels, np.array([[True, True]]))}
    decided = decided_by_a_person(["a", "b", "c"], 3, {"c"}, ticks)
    assert decided.tolist() == [[False] * 3, [True, False, False], [True] * 3]
