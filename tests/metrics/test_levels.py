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


def test_seen_and_unseen_classes_are_measured_apart_with_their_harmonic_mean() -> None:
    # Truth 0 0 1 1 2 2 2 2, prediction 0 1 1 1 2 2 0 0: IoU of the background 1/4, of lawn 2/3, of road 2/4.
    target, preds = np.array([[0, 0, 1, 1, 2, 2, 2, 2]]), np.array([[0, 1, 1, 1, 2, 2, 0, 0]])
    levels = Levels(NAMES, background=True, unseen=["road"])
    levels.segmenter.add(target, preds)
    report = levels.report()["segmenter"]
    seen, unseen = (1 / 4 + 2 / 3) / 2, 1 / 2
    assert report["miou_seen_classes"] == pytest.approx(seen)
    assert report["miou_unseen_classes"] == pytest.approx(unseen)
    assert report["miou_harmonic"] == pytest.approx(1 / ((1 / seen + 1 / unseen) / 2))
    plain = Levels(NAMES, background=True)
    plain.segmenter.add(target, preds)
    assert plain.report()["segmenter"] == {
        name: v for name, v in report.items() if "classes" not in name and "harm" not in name
    }


def test_classes_that_were_never_found_have_a_harmonic_mean_of_zero_and_unmeasured_ones_none() -> None:
    levels = Levels(NAMES, background=False, unseen=["road"])
    assert np.isnan(levels.report()["segmenter"]["miou_harmonic"])
    levels.segmenter.add(np.array([[1, 2]]), np.array([[2, 1]]))
    report = levels.report()["segmenter"]
    assert (report["miou_seen_classes"], report["miou_unseen_classes"], report["miou_harmonic"]) == (0, 0, 0)
