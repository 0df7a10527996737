import math
import re
from xml.etree import ElementTree

import pytest

from wildseg.metrics.budget import Measure
from wildseg.metrics.intervals import Interval
from wildseg.report.charts import MOST_POINTS, bar, curve, swatch

NONE = Interval(math.nan, math.nan)


def test_a_bar_is_as_long_as_its_value_and_its_whisker_as_the_interval() -> None:
    svg = ElementTree.fromstring(bar(Measure(0.25, Interval(0.1, 0.5)), width=200, mark=0.75))
    (value,) = svg.findall("rect[@class='bar']")
    assert float(value.get("width", 0)) == 50
    (whisker,) = svg.findall("path[@class='whisker']")
    assert re.match(r"M20.0 7.0H100.0", whisker.get("d", ""))
    (mark,) = svg.findall("path[@class='mark']")
    assert mark.get("d", "").startswith("M150.0 ")


def test_what_was_not_measured_is_an_empty_bar() -> None:
    svg = ElementTree.fromstring(bar(Measure(math.nan, NONE)))
    assert [part.get("class") for part in svg] == ["track"]


def test_a_swatch_has_the_colour() -> None:
    assert ElementTree.fromstring(swatch((255, 0, 10)))[0].get("fill") == "#ff000a"


def points_of(chart: str) -> list[tuple[float, float]]:
    (line,) = ElementTree.fromstring(chart).iter("polyline")
    return [(float(x), float(y)) for x, y in (point.split(",") for point in line.get("points", "").split())]


def test_a_curve_goes_up_where_values_do_and_labels_its_axes() -> None:
    chart = curve([(1, 0.0), (2, 0.5), (3, 1.0)], "growth & <more>")
    (x1, y1), (x2, y2), (x3, y3) = points_of(chart)
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    assert y1 > y3  # the origin is above
    texts = [text.text for text in ElementTree.fromstring(chart).iter("text")]
    assert {"0", "0.5", "1", "2", "3"} <= set(texts)
    assert ElementTree.fromstring(chart).findtext("figcaption") == "growth & <more>"


def test_many_points_are_averaged_and_what_is_no_number_is_left_out() -> None:
    values = [(float(x), float(x % 2)) for x in range(4000)] + [(5000.0, math.nan)]
    drawn = points_of(curve(values, "noise"))
    assert len(drawn) == MOST_POINTS
    assert len({y for _, y in drawn}) == 1


@pytest.mark.parametrize("points", [[], [(1, 2.0)], [(1, math.nan), (2, math.inf)]])
def test_too_few_points_are_no_curve(points: list[tuple[float, float]]) -> None:
    assert curve(points, "nothing") == ""


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-9, 2e-9], [-3.0, 5.0], [1e12, 1e12]])
def test_constant_tiny_and_negative_values_have_axes(values: list[float]) -> None:
    assert len(points_of(curve(list(enumerate(values)), "any"))) == 2
