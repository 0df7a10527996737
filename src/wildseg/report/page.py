"""The page of results: one HTML file (see `wildseg.report.document`), whose pictures lie in a folder beside it.

A record of the run is a script in that folder. The same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wildseg.core.classes import IGNORE
from wildseg.core.colours import hex_colour
from wildseg.metrics.label_free import LabelFree
from wildseg.report.charts import curve
from wildseg.report.document import document
from wildseg.report.label_free import verdicts
from wildseg.report.markup import Markup, element, joined, json_for_script
from wildseg.report.page_tables import (
    GroupPart,
    WithoutTruth,
    budget_table,
    class_table,
    confusion_table,
    largest_loss,
    truth_free_table,
)

RECORDS = "runs"  # the folder beside the page of what is known of the run that made it, by the page's digest


@dataclass(frozen=True)
class Page:
    """What the page shows.

    names: by id, the background first. palette: (256, 3) uint8 RGB by id. background: whether a pixel may be of no
    class. facts: name and value of what was measured. remarks: sentences on what was not. parts: seen and held-out
    sources, those that have frames. without_truth: measures of the frames that are shown. curves: title and points of
    each. frames: see `wildseg.report.page_frames`. all_frames: how many key frames there are, shown or
    not. label_free: by title of a group, its measures that need no truth.
    """

    names: Sequence[str]
    palette: np.ndarray = field(repr=False)
    background: bool
    facts: Sequence[tuple[str, str]]
    remarks: Sequence[str]
    parts: Sequence[GroupPart]
    without_truth: WithoutTruth
    curves: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    frames: Sequence[Mapping[str, Any]] = field(repr=False)
    all_frames: int = 0
    label_free: Sequence[tuple[str, LabelFree]] = ()


def render(page: Page) -> tuple[str, str]:
    """Return the page, and the digest under which it looks for the record of its run."""
    body = joined([_main(page), _data("frames", page.frames), _data("classes", _classes(page))])
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    run = element("div", id="result", hidden=True, data_result=digest, data_records=RECORDS)
    return document("wildseg report", body, "page.js", run), digest


def run_record(record: Mapping[str, Any]) -> str:
    """Return the script that gives a page the record of its run; keys: see `wildseg.stages.eval.run_record`."""
    return f"wildsegRun({json_for_script(record)});\n"


# Parts --------------------------------------------------------------------------------------------------------------


def _main(page: Page) -> Markup:
    measured = [part for part in page.parts if part.budget.frames()]
    sections = [
        ("run", "At a glance", _run(page)),
        ("budget", "Where quality is lost", _budgets(page, measured)),
        ("verdict", "Without truth", verdicts(page.label_free)),
        (
            "classes",
            "Classes",
            joined([class_table(part, page.names, page.palette, page.background) for part in measured]),
        ),
        ("confusion", "Confusion of the model", _confusion(page, measured)),
        ("training", "Training", _curves(page)),
        ("frames-section", "Frames", _frames(page)),
    ]
    links = [element("a", title, href=f"#{id_}") for id_, title, content in sections if content]
    header = element(
        "header",
        element("h1", "wildseg ", element("span", "report")),
        element("nav", *links, aria_label="Sections"),
        element("button", "Dark or light", id="theme", type="button"),
    )
    shown = [
        element("section", element("h2", title), content, id=id_, class_="part")
        for id_, title, content in sections
        if content
    ]
    return joined([header, element("main", *shown)])


def _run(page: Page) -> Markup:
    facts = [element("div", element("dt", name), element("dd", value)) for name, value in page.facts]
    remarks = [element("p", text, class_="remark") for text in page.remarks]
    unknown = (
        "The record of the run that made this page is not beside it, as after dvc pull or dvc exp apply: "
        "git log -- dvc.lock has the commit, dvc params diff the parameters."
    )
    record = element("div", element("p", unknown, class_="note"), id="run-record")
    return joined([element("dl", *facts, class_="facts"), record, *remarks])


def _budgets(page: Page, measured: Sequence[GroupPart]) -> Markup:
    without = truth_free_table(page.without_truth, page.names, page.palette, page.background)
    known = element("details", element("summary", "Measures that need no truth"), without, open=not measured)
    if not measured:
        text = (
            "No key frame has a truth, so that nothing can be compared with it. What is known without it follows; "
            "with masks of a few key frames in data/truth, this section shows where quality is lost."
        )
        return joined([element("p", text, class_="remark"), known])
    note = (
        "Each level is measured on the same frames; undecided pixels count as errors. The number beside a value is the "
        "step from the level above. Intervals hold 95 % of 1,000 redrawn samples of stretches of 6 seconds; there is "
        "none where fewer than 5 stretches have a truth. What the maps of missed classes would be is not known: only "
        "cam could compute them."
    )
    tables = element("div", *(budget_table(part) for part in measured), class_="panels")
    loss = largest_loss(measured[0].budget)
    return joined([element("p", loss, class_="lead"), tables, element("p", note, class_="note"), known])


def _confusion(page: Page, measured: Sequence[GroupPart]) -> Markup:
    found = [part for part in measured if part.matrix.any()]
    tables = [confusion_table(part, page.names, page.palette, page.background) for part in found]
    note = element("p", "Share of a true class's pixels that the model predicts as each class.", class_="note")
    return joined([note, *tables]) if tables else Markup("")


def _curves(page: Page) -> Markup:
    charts = [curve(points, title) for title, points in page.curves]
    return element("div", *charts, class_="panels") if any(charts) else Markup("")


def _frames(page: Page) -> Markup:
    if not page.frames:
        text = "No frame is shown: " + (
            "eval.report_frames is 0." if page.all_frames else "there is no key frame; see data/frames/quarantine.csv."
        )
        return element("p", text, class_="remark")
    left_out = page.all_frames - len(page.frames)
    text = f"{len(page.frames)} evenly spaced frames of {page.all_frames}. " if left_out else ""
    keys = (
        "Keys: ↓ and ↑ go from frame to frame, Enter opens one; there, ← and → go on, 1 to 9 show the map of a label, "
        "i, p, c, m and t the image, pseudo mask, confidence, model and truth, Esc closes. Nearly white pixels of a "
        "mask are undecided, or their truth is not known."
    )
    hint = element("noscript", element("p", "Frames are shown by a script, which is switched off.", class_="remark"))
    return joined([
        element("p", text + keys, class_="note"),
        hint,
        element("div", id="tools", class_="tools", role="group", aria_label="Filter and sort"),
        element("div", id="list"),
        element("dialog", id="large", tabindex=-1, aria_label="Frame"),
    ])  # fmt: skip


# Data and assets ----------------------------------------------------------------------------------------------------


def _classes(page: Page) -> list[dict[str, Any]]:
    rows = [(id_, name) for id_, name in enumerate(page.names)]
    return [
        {"id": id_, "name": name, "colour": hex_colour(page.palette[id_])}
        for id_, name in [*rows, (IGNORE, "undecided")]
    ]


def _data(name: str, value: object) -> Markup:
    return element("script", Markup(json_for_script(value)), type="application/json", id=f"data-{name}")
