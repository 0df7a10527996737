"""The page of `wildseg diff`: differences with intervals, parameters, classes, and frames side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wildseg.core.classes import IGNORE
from wildseg.core.colours import palette
from wildseg.report.charts import difference_bar, swatch
from wildseg.report.difference import NOTHING, Row, bounds, number, points, sentence, verdict
from wildseg.report.document import document
from wildseg.report.markup import Markup, element, joined

SMALLEST_SCALE = 0.02  # of the chart of differences, in mIoU, so that next to nothing looks like it
ORDERS = (  # what is shown, the data attribute, and 1 for the smallest first
    ("most changed", "change", -1),
    ("most changed by the model", "model", -1),
    ("most changed pseudo masks", "masks", -1),
    ("most improved model", "iou", -1),
    ("most worsened model", "iou", 1),
)


@dataclass(frozen=True)
class Side:
    """A run. letter: A or B. name: what a person typed. facts: names and values of its commit."""

    letter: str
    name: str
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class FramePictures:
    """A frame. facts: one line. values: what it is sorted by, NaN where unknown. pictures: title and path of each."""

    name: str
    facts: str
    values: Mapping[str, float]
    pictures: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class DifferencePage:
    """What the page shows; all but the sides may be empty.

    names: of the classes by id, the background first. colours: those that a person chose, by name.
    """

    first: Side
    second: Side
    rows: Sequence[Row] = ()
    classes: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    parameters: Sequence[tuple[str, str, str]] = ()
    agreement: str = ""
    remarks: Sequence[str] = ()
    frames: Sequence[FramePictures] = ()
    names: Sequence[str] = ()
    colours: Mapping[str, str] = field(default_factory=dict)


def render(page: DifferencePage) -> str:
    """Return the page."""
    sections = [
        ("run", "At a glance", _glance(page)),
        ("numbers", "Numbers", _numbers(page)),
        ("parameters", "Parameters", _parameters(page)),
        ("classes", "IoU of the model, class by class", joined(_classes(page))),
        ("frames-section", "Frames whose masks changed most", _frames(page)),
    ]
    shown = [one for one in sections if one[2]]
    header = element(
        "header",
        element("h1", "wildseg ", element("span", "diff")),
        element("nav", *(element("a", title, href=f"#{id_}") for id_, title, _ in shown), aria_label="Sections"),
        element("button", "Dark or light", id="theme", type="button"),
    )
    parts = [element("section", element("h2", title), content, id=id_, class_="part") for id_, title, content in shown]
    return document("wildseg diff", joined([header, element("main", *parts)]), "diff.js")


def lead(rows: Sequence[Row]) -> str:
    """Return what is to be read first: the sentence of the first measure, empty without one."""
    return sentence(rows[0]) if rows else ""


def _glance(page: DifferencePage) -> Markup:
    sides = []
    for side in (page.first, page.second):
        facts = [element("div", element("dt", name), element("dd", value, class_="mono")) for name, value in side.facts]
        sides.append(element("h3", f"{side.letter}: {side.name}"))
        sides.append(element("dl", *facts, class_="facts"))
    known = [element("p", text, class_="lead") for text in (lead(page.rows), page.agreement) if text]
    return joined([*known, *sides, *(element("p", text, class_="remark") for text in page.remarks)])


def _numbers(page: DifferencePage) -> Markup:
    if not page.rows:
        return element("p", "Nothing was measured in both.", class_="remark")
    note = (
        "Measured on the frames that both have with the same truth; the model on those that neither was trained on. A "
        "difference is B less A, in percentage points. Intervals hold 95 % of 1,000 redrawn samples of stretches of 6 "
        "seconds, the same ones for both; there is none with fewer than 5 stretches. Rows with neither interval nor "
        "group are of each run's own frames."
    )
    return joined([_table(page.rows, "measure"), element("p", note, class_="note")])


def _classes(page: DifferencePage) -> list[Markup]:
    return [
        element("section", element("h3", title), _table(rows, "class")) for title, rows in page.classes.items() if rows
    ]


def _table(rows: Sequence[Row], what: str) -> Markup:
    extent = [abs(x) for row in rows for x in (row.difference.value, *row.difference.interval) if math.isfinite(x)]
    scale = max(SMALLEST_SCALE, *extent) if extent else SMALLEST_SCALE
    head = [element("th", text, scope="col") for text in (what, "A", "B", "points", "95 % interval", "", "")]
    body = [element("tr", element("th", row.name, scope="row"), *_cells(row, scale)) for row in rows]
    table = element("table", element("thead", element("tr", *head)), element("tbody", *body), class_="classes")
    return element("div", table, class_="wide", tabindex=0)


def _cells(row: Row, scale: float) -> list[Markup]:
    found = row.difference
    change = points(found.value) if math.isfinite(found.value) else NOTHING
    word = verdict(found)
    return [
        *(element("td", text, class_="n") for text in (number(found.first), number(found.second), change)),
        element("td", bounds(found), class_="n"),
        element("td", difference_bar(found, scale), class_="bar-cell"),
        element("td", word, class_=f"word {word}" if word else None),
    ]


def _parameters(page: DifferencePage) -> Markup:
    if not page.parameters:
        return element("p", "All parameters are the same.", class_="note")
    head = [element("th", text, scope="col") for text in ("parameter", "A", "B")]
    rows = [
        element("tr", element("th", key, scope="row"), element("td", first), element("td", second))
        for key, first, second in page.parameters
    ]
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows), class_="changed")
    return element("div", table, class_="wide", tabindex=0)


def _frames(page: DifferencePage) -> Markup:
    if not page.frames:
        return Markup("")
    options = [element("option", title, value=f"{key} {sign}") for title, key, sign in ORDERS]
    tools = element("label", "Sort by", element("select", *options, id="sort"))
    note = (
        "Shares are of pixels whose class differs between A and B; an undecided pixel is a class of its own. "
        "Keys: ↓ and ↑ go from frame to frame."
    )
    frames = [
        element(
            "article",
            element("div", element("h4", frame.name), element("span", frame.facts, class_="facts-line"), class_="top"),
            element("div", *(_picture(title, path) for title, path in frame.pictures), class_="panes"),
            class_="frame",
            tabindex=0,
            **{f"data_{key}": f"{value:.6f}" if math.isfinite(value) else "" for key, value in frame.values.items()},
        )
        for frame in page.frames
    ]
    return joined([
        element("p", note, class_="note"),
        _legend(page),
        element("div", tools, class_="tools"),
        element("div", *frames, id="list"),
    ])  # fmt: skip


def _legend(page: DifferencePage) -> Markup:
    rows = [*enumerate(page.names), (IGNORE, "undecided")] if page.names else []
    by_id = palette(page.names[1:], page.colours)
    chips = [element("span", swatch(by_id[id_]), name, class_="chip") for id_, name in rows]
    return element("div", *chips, class_="chips")


def _picture(title: str, path: str) -> Markup:
    image = element("img", src=path, alt=title, loading="lazy", class_="whole")
    return element("figure", element("figcaption", title), image, class_="pane")
