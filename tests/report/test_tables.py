import numpy as np

from wildseg.report.tables import confusion_rows, iou_rows, joint_false_negative_rows

NAMES = ["background", "lawn", "road"]


def test_only_what_was_measured_is_in_the_table() -> None:
    levels = {"maps": {"miou": 0.5, "iou.lawn": 0.25, "iou.road": float("nan")}, "model": {"iou.lawn": 1.0}}
    assert list(iou_rows(levels)) == [("lawn", "maps", "0.250000"), ("lawn", "model", "1.000000")]


def test_shares_are_of_true_pixels_and_a_lost_pixel_is_in_none_of_them() -> None:
    counts = np.array([[0, 0, 0, 0], [0, 3, 1, 0], [0, 0, 2, 2]])  # the last column: no class was answered
    assert list(confusion_rows(counts, NAMES, background=False)) == [
        ("lawn", "lawn", "0.750000"), ("lawn", "road", "0.250000"),
        ("road", "lawn", "0.000000"), ("road", "road", "0.500000"),
    ]  # fmt: skip


def test_the_background_is_a_column_where_it_may_be_answered() -> None:
    counts = np.array([[0, 0, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0]])
    rows = list(confusion_rows(counts, NAMES, background=True))
    assert rows == [("lawn", "background", "0.250000"), ("lawn", "lawn", "0.750000"), ("lawn", "road", "0.000000")]


def test_joint_false_negatives_are_a_share_of_the_false_negatives_of_a_class() -> None:
    together = np.array([[4, 1, 0], [1, 2, 0], [0, 0, 0]])
    assert list(joint_false_negative_rows(together, ["curb", "water", "sky"])) == [
        ("curb", "curb", "1.000000"), ("curb", "water", "0.250000"), ("curb", "sky", "0.000000"),
        ("water", "curb", "0.500000"), ("water", "water", "1.000000"), ("water", "sky", "0.000000"),
    ]  # fmt: skip
