"""The part of the page that judges a run without truth: estimated mIoU, agreements, confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wildseg.metrics import label_free
from wildseg.metrics.budget import Measure
from wildseg.metrics.label_free import CONFIDENT, NOTHING, LabelFree, PairMeasure
from wildseg.report.charts import bar
from wildseg.report.markup import Markup, element, joined
from wildseg.report.page_tables import number

PAIRS = {
    label_free.MASKS: ("Pseudo masks and model", "undecided pixels left out"),
    label_free.MAPS: ("Activation maps and model", ""),
    label_free.FLIP: ("Frame and mirror image", "flip consistency of the model"),
    label_free.SCALE: ("Frame and frame at three quarters of its size", "scale consistency of the model"),
    label_free.NEIGHBOURS: ("Key frame and the next one", "pixel by pixel: what moved counts as well as what flickers"),
    label_free.ALONG_FLOW: ("Key frame and the next one, along the flow", "flicker, where optical flow is consistent"),
}
NOTE = (
    "Measured on an evenly spread sample of frames that the model was not trained on. Agreement is the mean IoU of one "
    "with the other, and beside it the share of equal pixels. The estimated mIoU is what the model expects of itself, "
    "its confidence calibrated on the pseudo masks: errors that the model shares with them stay hidden, so that it is "
    "too high by as much, and its interval covers other frames, not these errors. All this compares runs on the same "
    "data; docs/report.md says what each measure misses."
)


def verdict_table(title: str, found: LabelFree) -> Markup:
    """Return the label-free measures of a group."""
    estimate = found.estimate()
    calibrated = f"temperature {estimate.temperature:.2f}" if math.isfinite(estimate.temperature) else ""
    rows = [_row("Estimated mIoU of the model", calibrated, estimate.miou)]
    rows.append(element("tr", element("th", "agreement", colspan=4, scope="rowgroup"), class_="level"))
    rows += [_row(*titles, one.miou, _pixels(one)) for name, titles in PAIRS.items() if _known(one := found.pair(name))]
    rows.append(element("tr", element("th", "also", colspan=4, scope="rowgroup"), class_="level"))
    rows.append(_row("Confident pixels", f"probability of at least {CONFIDENT:g}", found.confident()))
    if found.labels is not None:
        equal = Measure(found.labels.overall, NOTHING.interval)
        kappa = found.labels.pooled_kappa
        text = f"Cohen's kappa {kappa:.2f}" if math.isfinite(kappa) else ""
        rows.append(_row("Labels and second labels", "share of equal labels, over frames and classes", equal, text))
    return element(
        "section",
        element("h3", title),
        element("p", f"{found.frames} frames.", class_="note"),
        element("table", *rows, class_="budget"),
        class_="panel",
    )


def verdicts(groups: Sequence[tuple[str, LabelFree]]) -> Markup:
    """Return the tables of the groups with what they mean, or nothing where no frame was measured."""
    shown = [verdict_table(title, found) for title, found in groups if found.frames]
    return joined([element("div", *shown, class_="panels"), element("p", NOTE, class_="note")]) if shown else Markup("")


def _row(title: str, why: str, measure: Measure, beside: str = "") -> Markup:
    return element(
        "tr",
        element("th", title, element("small", why), scope="row"),
        element("td", bar(measure), class_="bar-cell"),
        element("td", number(measure), class_="n"),
        element("td", beside, class_="step"),
    )


def _known(one: PairMeasure) -> bool:
    return math.isfinite(one.miou.value)


def _pixels(one: PairMeasure) -> str:
    return f"{one.pixels.value:.1%} of pixels"
