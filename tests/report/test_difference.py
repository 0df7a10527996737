import math

import pytest

from tests.report.pages import HOSTILE
from tests.report.test_page import Read
from wildseg.metrics.intervals import Interval
from wildseg.metrics.paired import Difference
from wildseg.report.difference import Row, sentence, table
from wildseg.report.difference_page import DifferencePage, FramePictures, Side, render

NAN = math.nan


@pytest.mark.parametrize(
    ("second", "interval", "words"),
    [
        (0.621, (0.008, 0.033), "better by 2.1 points, 95 % interval 0.8 to 3.3"),
        (0.579, (-0.033, -0.008), "worse by 2.1 points, 95 % interval 0.8 to 3.3"),
        (0.603, (-0.005, 0.011), "no clear difference, +0.3 points, 95 % interval −0.5 to +1.1"),
        (0.6, (0.0, 0.0), "the same"),
        (0.57, (NAN, NAN), "−3.0 points (no interval, since fewer than 5 stretches have a truth)"),
        (NAN, (NAN, NAN), "not measured in both"),
    ],
)
def test_a_difference_is_a_sentence(second: float, interval: tuple[float, float], words: str) -> None:
    row = Row("model mIoU", "seen sources", Difference(0.6, second, Interval(*interval)))
    assert sentence(row) == f"model mIoU, seen sources: {words}"


def test_the_table_of_a_terminal_has_a_line_for_each_measure() -> None:
    rows = [Row("a", "", Difference(0.5, 0.625, Interval(0.1, 0.2))), Row("b", "", Difference(0.5, NAN), paired=False)]
    assert [line.split() for line in table(rows, "A", "B")[1:]] == [
        ["a", "0.500", "0.625", "+12.5", "+10.0", "to", "+20.0", "better"],
        ["b", "0.500", "–", "–"],
    ]


def test_nothing_that_was_typed_becomes_markup_in_the_page() -> None:
    row = Row(HOSTILE[0], HOSTILE[1], Difference(0.1, 0.2, Interval(0.05, 0.15)))
    found = Read(render(DifferencePage(
        Side("A", HOSTILE[0], [(HOSTILE[1], HOSTILE[2])]), Side("B", HOSTILE[1]), [row], {HOSTILE[0]: [row]},
        [HOSTILE], HOSTILE[0], [HOSTILE[1]],
        [FramePictures(HOSTILE[0], HOSTILE[1], {"iou": NAN}, [(HOSTILE[0], "a.jpg")])],
    )))  # fmt: skip
    for text in HOSTILE:
        assert text in found.text
    assert [name for name, _ in found.elements].count("script") == 1
    assert [given["src"] for name, given in found.elements if name == "img"] == ["a.jpg"]
    assert not [given for _, given in found.elements if any(key.startswith("on") for key in given)]


def test_of_nothing_there_is_still_a_page() -> None:
    text = Read(render(DifferencePage(Side("A", "a"), Side("B", "b")))).text
    assert "Nothing was measured in both." in text
    assert "All parameters are the same." in text
