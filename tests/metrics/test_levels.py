import numpy as np
import pytest

from wildseg.metrics.levels import Levels, classes_in

NAMES = ("lawn", "road")


def test_a_class_is_there_absent_or_too_small_to_tell() -> None:
    truth = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 2]])  # 9 and 1 of 10 pixels; no third class
    for min_share, expected in ((0.0, [1, 1, 0]), (0.1, [1, 1, 0]), (0.11, [1, 0, 0])):
        present, valid = classes_in(truth, 3, min_share)
        assert present.tolist() == [bool(value) for value in expected]
        assert valid.tolist() == [True, min_share <= 0.1, True]


def test_unknown_pixels_and_background_are_no_class() -> None:
    present, valid = classes_in(np.array([[0, 255, 255, 255]], np.uint8), 2, 0.1)
    assert not present.any()
    assert valid.all()


def test_nothing_counted_is_nan_everywhere_with_the_same_keys() -> None:
    empty = Levels(NAMES, background=True).report()
    full = Levels(NAMES, background=True)
    ids = np.array([[0, 1, 2]])
    for level in (full.cam, full.pseudo, full.segmenter):
        level.add(ids, ids)
    full.add_labels(*classes_in(ids, 2, 0.0), np.ones(2, bool), np.ones(2))
    report = full.report()
    assert {level: set(values) for level, values in empty.items()} == {
        level: set(values) for level, values in report.items()
    }
    assert all(np.isnan(value) for values in empty.values() for value in values.values())
    assert {value for values in report.values() for value in values.values()} == {1.0}


def test_background_is_measured_only_where_it_is_a_class() -> None:
    assert "iou.background" in Levels(NAMES, background=True).report()["segmenter"]
    assert "iou.background" not in Levels(NAMES, background=False).report()["segmenter"]


def test_foreground_leaves_the_background_out_of_the_mean_but_not_its_pixels() -> None:
    levels = Levels(NAMES, background=True)
    levels.segmenter.add(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))
    report = levels.report()["segmenter"]
    assert report["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert report["miou_foreground"] == pytest.approx(2 / 3)
