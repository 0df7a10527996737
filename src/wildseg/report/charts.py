"""Small charts as inline SVG: bars with intervals, differences, curves. Their colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wildseg.metrics.budget import Measure
from wildseg.metrics.paired import Difference
from wildseg.report.markup import Markup, element

BAR_HEIGHT = 14
CURVE_WIDTH, CURVE_HEIGHT = 520, 190
LEFT, BOTTOM, TOP, RIGHT = 44, 24, 10, 10  # margins of a curve
MOST_POINTS = 400  # of a curve; more are averaged


def bar(measure: Measure, width: int = 260, mark: float = math.nan) -> Markup:
    """Return a bar from 0 to 1 with its interval as a whisker, and a dashed line at `mark` where it is a number."""
    middle = BAR_HEIGHT / 2
    parts = [element("rect", class_="track", width=width, height=BAR_HEIGHT, rx=3)]
    if math.isfinite(measure.value):
        parts += [element("rect", class_="bar", width=_at(measure.value, width), height=BAR_HEIGHT, rx=3)]
    if math.isfinite(measure.interval.low):
        low, high = (_at(value, width) for value in measure.interval)
        parts += [element("path", class_="whisker", d=f"M{low} {middle}H{high}M{low} 3V11M{high} 3V11")]
    if math.isfinite(mark):
        parts += [element("path", class_="mark", d=f"M{_at(mark, width)} 0V{BAR_HEIGHT}")]
    return _svg(width, BAR_HEIGHT, *parts, class_="bars")


def difference_bar(found: Difference, scale: float, width: int = 200) -> Markup:
    """Return a difference as a point with its interval on an axis from -`scale` to `scale`, 0 in its middle."""

    def at(value: float) -> float:
        return _at((value / scale + 1) / 2, width)

    middle = BAR_HEIGHT / 2
    parts = [element("rect", class_="track", width=width, height=BAR_HEIGHT, rx=3),
             element("path", class_="mark", d=f"M{at(0)} 0V{BAR_HEIGHT}")]  # fmt: skip
    if math.isfinite(found.value):
        if math.isfinite(found.interval.low):
            low, high = (at(value) for value in found.interval)
            parts += [element("path", class_="whisker", d=f"M{low} {middle}H{high}M{low} 3V11M{high} 3V11")]
        parts += [element("circle", class_="bar", cx=at(found.value), cy=middle, r=4)]
    return _svg(width, BAR_HEIGHT, *parts, class_="bars")


def swatch(colour: Sequence[int]) -> Markup:
    """Return a small square of a colour, RGB in [0, 255]."""
    fill = f"#{int(colour[0]):02x}{int(colour[1]):02x}{int(colour[2]):02x}"
    return _svg(12, 12, element("rect", width=12, height=12, rx=3, fill=fill), class_="swatch")


def curve(points: Sequence[tuple[float, float]], title: str, from_zero: bool = True) -> Markup:
    """Return a curve over steps with axes, or nothing where it has fewer than two points.

    Args:
        points: (x, y) in the order of x; neighbours are averaged where there are more than `MOST_POINTS`.
        title: above the chart.
        from_zero: whether the vertical axis begins at 0.
    """
    points = _averaged([(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)])
    if len(points) < 2:
        return Markup("")
    xs, ys = zip(*points, strict=True)
    lowest, highest = (min(0.0, *ys) if from_zero else min(ys)), max(ys)
    step = _nice((highest - lowest or 1.0) / 4)
    ticks = [step * k for k in range(math.floor(lowest / step), math.ceil(highest / step) + 1)]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - xs[0]) / ((xs[-1] - xs[0]) or 1)
        up = (y - ticks[0]) / ((ticks[-1] - ticks[0]) or 1)
        return (
            round(LEFT + across * (CURVE_WIDTH - LEFT - RIGHT), 1),
            round(CURVE_HEIGHT - BOTTOM - up * (CURVE_HEIGHT - BOTTOM - TOP), 1),
        )

    parts = []
    for tick in ticks:
        _, y = place(xs[0], tick)
        parts.append(element("path", class_="grid", d=f"M{LEFT} {y}H{CURVE_WIDTH - RIGHT}"))
        parts.append(element("text", f"{tick:.6g}", x=LEFT - 8, y=y + 4, class_="tick end"))
    across = {xs[0]: "start", (xs[0] + xs[-1]) / 2: "middle", xs[-1]: "end"}
    for x, anchor in across.items():
        parts.append(element("text", f"{x:.6g}", x=place(x, lowest)[0], y=CURVE_HEIGHT - 6, class_=f"tick {anchor}"))
    line = " ".join(f"{x},{y}" for x, y in (place(x, y) for x, y in points))
    parts.append(element("polyline", class_="curve", points=line))
    chart = _svg(CURVE_WIDTH, CURVE_HEIGHT, *parts, class_="chart", role="img", aria_label=title)
    return element("figure", element("figcaption", title), chart)


def _svg(width: int, height: int, *parts: Markup, **attributes: object) -> Markup:
    box = f"0 0 {width} {height}"
    return element("svg", *parts, viewBox=box, preserveAspectRatio="xMinYMid", width=width, height=height, **attributes)


def _at(value: float, width: int) -> float:
    return round(min(max(value, 0.0), 1.0) * width, 1)


def _nice(step: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _averaged(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), max(size, 1))]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
