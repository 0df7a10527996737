"""The tables of the page: the error budget, classes with intervals, the confusion matrix, measures without truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wildseg.metrics import budget as levels
from wildseg.metrics import intervals
from wildseg.metrics.budget import TESTED, Budget, Measure
from wildseg.report.charts import bar, swatch
from wildseg.report.markup import Markup, element, joined

SHADES = 10  # steps of a confusion's colour
VISIBLE = 0.005  # share below which a confusion is left blank
NOTHING = "–"
TITLES = {
    levels.CEILING: ("Perfect maps of these labels", "what missed labels cost"),
    levels.TRUE_MAPS: ("Maps, wrong labels left out", "what the activation maps cost"),
    levels.MAPS: ("Activation maps", "what wrong labels cost"),
    levels.MASKS: ("Pseudo masks", "what the CRF changes"),
    levels.MODEL: ("Model", "what training changes"),
}


@dataclass(frozen=True)
class GroupPart:
    """What the page shows of seen or of held-out sources.

    title: of the group. frames: how many there are. budget: of those with truth. matrix: (n, n + 1) confusion of the
    model, rows truth. always_f1: F1 of naming every class in every frame.
    """

    title: str
    frames: int
    budget: Budget
    matrix: np.ndarray
    always_f1: float


@dataclass
class WithoutTruth:
    """Sums over the frames that are shown, of what needs no truth; shares are of pixels."""

    frames: int = 0
    confidence: list[float] = field(default_factory=list)
    open: list[float] = field(default_factory=list)
    masks_model: list[float] = field(default_factory=list)
    maps_model: list[float] = field(default_factory=list)
    shares: dict[str, np.ndarray] = field(default_factory=dict)
    labelled: dict[int, int] = field(default_factory=dict)


def budget_table(part: GroupPart) -> Markup:
    """Return the error budget of a group: labels, then mIoU level by level, each with its step from the level before.

    It is measured on the frames that the model was not trained on, or on all where none of those has a truth.
    """
    tested = part.budget.frames(tested=True) > 0
    which = TESTED if tested else ""
    f1, recall = part.budget.labels(tested)
    rows = [
        _budget_row("Image labels, F1", f1, "", "dashed: every class in every frame", part.always_f1),
        _budget_row("Image labels, recall", recall, ""),
    ]
    rows.append(element("tr", element("th", "mIoU", colspan=4, scope="rowgroup"), class_="level"))
    before = 1.0
    for level in levels.STEPS:
        measure = part.budget.miou(level + which)
        if not math.isfinite(measure.value):
            continue
        title, step = TITLES[level]
        rows.append(_budget_row(title, measure, _signed(measure.value - before), step))
        before = measure.value
    number = part.budget.frames(tested)
    where = "that the model was not trained on" if tested else "with truth, all of which the model was trained on"
    return element(
        "section",
        element("h3", part.title),
        element("p", f"{number} of {part.frames} frames: those {where}.", class_="note"),
        element("table", *rows, class_="budget"),
        class_="panel",
    )


def _budget_row(title: str, measure: Measure, step: str, why: str = "", mark: float = math.nan) -> Markup:
    return element(
        "tr",
        element("th", title, element("small", why), scope="row"),
        element("td", bar(measure, mark=mark), class_="bar-cell"),
        element("td", number(measure), class_="n"),
        element("td", step, class_="step"),
    )


def _signed(step: float) -> str:
    text = f"{step:+.3f}".replace("-", "−")
    return text if step and text[1:] != "0.000" else "0.000"


def largest_loss(budget: Budget) -> str:
    """Return a sentence on the step of the budget that costs most; empty where nothing was measured."""
    which = TESTED if budget.frames(tested=True) else ""
    values = [(level, budget.miou(level + which).value) for level in levels.STEPS]
    known = [("", 1.0), *((level, value) for level, value in values if math.isfinite(value))]
    steps = [(after - before, level, after) for (_, before), (level, after) in zip(known, known[1:], strict=False)]
    if not steps or min(steps)[0] >= 0:
        return ""
    loss, level, after = min(steps)
    cause = {
        levels.CEILING: "classes that the labels miss",
        levels.TRUE_MAPS: "the activation maps, even of the right classes",
        levels.MAPS: "classes that the labels name wrongly",
        levels.MASKS: "the step from maps to pseudo masks",
        levels.MODEL: "the model, which falls behind the pseudo masks that it learned from",
    }[level]
    return f"Most is lost by {cause}: {-loss:.3f} mIoU, down to {after:.3f}."


def class_table(part: GroupPart, names: Sequence[str], palette: np.ndarray, background: bool) -> Markup:
    """Return the measures of each class with 95 % intervals; `names` and `palette` by id."""
    columns = [
        ("precision of labels", levels.LABELS, intervals.precision),
        ("recall of labels", levels.LABELS, intervals.recall),
        ("IoU of maps", levels.MAPS, intervals.iou),
        ("IoU of pseudo masks", levels.MASKS, intervals.iou),
        ("IoU of the model", levels.MODEL, intervals.iou),
        ("recall of the model", levels.MODEL, intervals.recall),
    ]
    found = [(level == levels.LABELS, part.budget.by_class(level, measure)) for _, level, measure in columns]
    head = element("tr", element("th", "class", scope="col"), *(element("th", c[0], scope="col") for c in columns))
    rows = []
    for id_ in range(0 if background else 1, len(names)):
        cells = [_measure_cell(values, id_ - 1 if of_labels else id_) for of_labels, values in found]
        rows.append(element("tr", class_name(id_, names, palette), *cells))
    table = element("table", element("thead", head), element("tbody", *rows), class_="classes")
    return element("section", element("h3", part.title), element("div", table, class_="wide", tabindex=0))


def class_name(id_: int, names: Sequence[str], palette: np.ndarray) -> Markup:
    """Return the head of a row: the colour and the name of a class."""
    return element("th", swatch(palette[id_]), names[id_], scope="row")


def _measure_cell(values: Sequence[Measure], index: int) -> Markup:
    if not 0 <= index < len(values) or not math.isfinite(values[index].value):
        return element("td", NOTHING, class_="n")
    one = values[index]
    bounds = f"{one.interval.low:.2f}–{one.interval.high:.2f}" if math.isfinite(one.interval.low) else ""
    return element("td", f"{one.value:.2f}", " ", element("small", bounds), class_="n")


def number(measure: Measure) -> Markup:
    """Return a value with three digits, and its interval."""
    if not math.isfinite(measure.value):
        return Markup(NOTHING)
    low, high = measure.interval
    bounds = f"{low:.3f}–{high:.3f}" if math.isfinite(low) else ""
    return joined([f"{measure.value:.3f}", Markup(" "), element("small", bounds)])


def confusion_table(part: GroupPart, names: Sequence[str], palette: np.ndarray, background: bool) -> Markup:
    """Return the model's confusion matrix, as shares of each true class's pixels; classes in neither are left out."""
    square = part.matrix[:, : len(names)]
    shown = [id_ for id_ in range(len(names)) if square[id_].any() or square[:, id_].any()]
    shown = [id_ for id_ in shown if id_ or background or square[0].any()]
    head = element("tr", element("th", "true class"), *(element("th", names[id_], scope="col") for id_ in shown))
    rows = []
    for actual in shown:
        total = int(part.matrix[actual].sum())
        shares = [int(square[actual, predicted]) / total if total else math.nan for predicted in shown]
        cells = [_share_cell(share, actual == predicted) for share, predicted in zip(shares, shown, strict=True)]
        rows.append(element("tr", class_name(actual, names, palette), *cells))
    table = element("table", element("thead", head), element("tbody", *rows), class_="confusion")
    return element("section", element("h3", part.title), element("div", table, class_="wide", tabindex=0))


def _share_cell(share: float, right: bool) -> Markup:
    if not math.isfinite(share):
        return element("td", NOTHING)
    if share < VISIBLE:
        return element("td")
    return element("td", f"{share:.0%}", class_=f"s{math.ceil(share * SHADES)} {'hit' if right else 'miss'}")


def truth_free_table(found: WithoutTruth, names: Sequence[str], palette: np.ndarray, background: bool) -> Markup:
    """Return what is known without truth: means over the frames that are shown, and how often each class occurs."""
    facts = [
        ("decided pixels of pseudo masks", _one_less(found.open)),
        ("mean confidence of pseudo masks", found.confidence),
        ("pixels on which pseudo masks and model agree", _one_less(found.masks_model)),
        ("pixels on which maps and model agree", _one_less(found.maps_model)),
    ]
    rows = [
        element(
            "tr",
            element("th", title, scope="row"),
            element("td", bar(_mean(values)), class_="bar-cell"),
            element("td", _share(values), class_="n"),
        )
        for title, values in facts
    ]
    head = ("class", "frames labelled with it", "pixels of pseudo masks", "pixels of predictions")
    classes = [
        element("tr", class_name(id_, names, palette), element("td", _of(found, id_)),
                *(element("td", _mean_share(found, name, id_)) for name in ("pseudo", "model")))
        for id_ in range(0 if background else 1, len(names))
    ]  # fmt: skip
    table = element("table", element("thead", element("tr", *(element("th", one, scope="col") for one in head))),
                    element("tbody", *classes), class_="classes")  # fmt: skip
    return joined([element("table", *rows, class_="budget"), element("div", table, class_="wide", tabindex=0)])


def _one_less(values: Sequence[float]) -> list[float]:
    return [1 - value for value in values]


def _mean(values: Sequence[float]) -> Measure:
    value = sum(values) / len(values) if values else math.nan
    return Measure(value, intervals.Interval(math.nan, math.nan))


def _share(values: Sequence[float]) -> str:
    return f"{_mean(values).value:.1%}" if values else NOTHING


def _of(found: WithoutTruth, id_: int) -> str:
    return NOTHING if not id_ else f"{found.labelled.get(id_, 0)} of {found.frames}"


def _mean_share(found: WithoutTruth, name: str, id_: int) -> str:
    sums: Mapping[str, np.ndarray] = found.shares
    return f"{sums[name][id_] / found.frames:.1%}" if found.frames and name in sums else NOTHING
