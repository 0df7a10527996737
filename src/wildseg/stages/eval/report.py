"""The report: pictures and numbers of frames, and the page that shows them beside all measures."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.artifacts.curve import load_curves
from wildseg.artifacts.project import Frame
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.metrics import budget as steps
from wildseg.metrics.budget import TESTED, Budget
from wildseg.metrics.groups import Group
from wildseg.metrics.label_free import LabelFree
from wildseg.report.evaluation import labels_of
from wildseg.report.page import RECORDS, Page, render
from wildseg.report.page import run_record as script_of
from wildseg.report.page_frames import answer_of, frame_entry
from wildseg.report.page_tables import GroupPart, WithoutTruth
from wildseg.report.sampling import sample_evenly
from wildseg.stages.eval.inputs import Inputs
from wildseg.stages.eval.report_task import ReportTask
from wildseg.stages.eval.run_record import run_record

TITLES = ("Seen sources", "Held-out sources")
USES = {"train": "trained on", "val": "best checkpoint chosen on"}  # of a frame, by its split; else tested on
CURVES = {"loss": "Loss of training", "val_miou": "mIoU on the validation split, against what is trained on"}


@dataclass(frozen=True)
class Measured:
    """A group of frames with its error budget, and what is measured without truth."""

    group: Group[Frame]
    budget: Budget
    label_free: LabelFree


def shown_frames(groups: Sequence[Group[Frame]], frames: Sequence[Frame], number: int) -> list[Frame]:
    """Return the frames of the report, in the order of `frames`: all, or `number` of both groups, evenly spaced."""
    chosen = set(sample_evenly([group.frames for group in groups], number))
    return [frame for frame in frames if frame in chosen]


def write(
    inputs: Inputs, measured: Sequence[Measured], frames: Sequence[Frame], predictions: Path, runtime: Runtime,
    remarks: Sequence[str],
) -> None:  # fmt: skip
    """Write metrics/report.

    Args:
        inputs: of the stage.
        measured: seen and held-out sources.
        frames: to be shown, whose predictions are there.
        predictions: the folder of the model's ids.
        runtime: of the frame task.
        remarks: sentences on what was not measured.
    """
    artifacts, params = inputs.artifacts, inputs.params
    classes, background = params.classes, bool(params.background)
    folders = list(artifacts.truth_folders)
    task = ReportTask(artifacts.root, classes.names, inputs.colours, background, predictions, inputs.truths, folders)
    artifacts.empty_report()
    records = run_frames(task, [frame.name for frame in frames], runtime, progress="eval: report").records
    all_frames = [frame for one in measured for frame in one.group.frames]
    page = Page(
        names=classes.with_background,
        palette=inputs.colours,
        background=background,
        facts=_facts(inputs, measured, all_frames),
        remarks=remarks,
        parts=[_part(title, one) for title, one in zip(TITLES, measured, strict=True) if one.group.frames],
        without_truth=_without_truth(inputs, frames, records),
        curves=_curves(artifacts.metrics_path("train/curve.csv")),
        frames=_entries(inputs, measured, frames, records),
        all_frames=len(all_frames),
        label_free=[(title, one.label_free) for title, one in zip(TITLES, measured, strict=True)],
    )
    text, digest = render(page)
    artifacts.save_report(text)
    artifacts.save_run_record(RECORDS, digest, script_of(run_record(params, artifacts)))


def _facts(inputs: Inputs, measured: Sequence[Measured], frames: Sequence[Frame]) -> list[tuple[str, str]]:
    facts = [
        ("Key frames", str(len(frames))),
        ("Sources", str(len({frame.source for frame in frames}))),
        ("With truth", str(sum(one.budget.frames() for one in measured))),
        ("Trained on", str(sum(frame.split == "train" for frame in frames))),
        ("Classes", str(len(inputs.params.classes))),
    ]
    for title, one in zip(("", ", held out"), measured, strict=True):
        budget = one.budget
        if budget.frames():
            facts.append((f"Labels, F1{title}", _digits(budget.labels(tested=False)[0].value)))
            facts.append((f"Pseudo masks, mIoU{title}", _digits(budget.miou(steps.MASKS).value)))
        if budget.frames(tested=True):
            facts.append((f"Model, mIoU{title}", _digits(budget.miou(steps.MODEL + TESTED).value)))
        if one.label_free.frames:
            facts.append((f"Model, estimated mIoU{title}", _digits(one.label_free.estimate().miou.value)))
    return facts


def _digits(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _part(title: str, one: Measured) -> GroupPart:
    levels = one.group.levels
    always = levels.report()["labels"]["always_f1"]
    return GroupPart(title, len(one.group.frames), one.budget, levels.segmenter.matrix, always)


def _without_truth(inputs: Inputs, frames: Sequence[Frame], records: Mapping[str, Any]) -> WithoutTruth:
    found = WithoutTruth()
    number = len(inputs.params.classes) + 1
    for frame in frames:
        record = records[frame.name]
        found.frames += 1
        for name in ("confidence", "open", "masks_model", "maps_model"):
            if (value := record[name]) is not None:
                getattr(found, name).append(value)
        for name, shares in record["shares"].items():
            total = found.shares.setdefault(name, np.zeros(number))
            total[[int(id_) for id_ in shares]] += list(shares.values())
        for index in np.flatnonzero(inputs.labels[frame.name]).tolist():
            found.labelled[index + 1] = found.labelled.get(index + 1, 0) + 1
    return found


def _entries(
    inputs: Inputs, measured: Sequence[Measured], frames: Sequence[Frame], records: Mapping[str, Any]
) -> list[dict[str, Any]]:
    shown = {frame.name for frame in frames}
    answers = {name: answer_of(record) for name, record in inputs.artifacts.load_answers() if name in shown}
    held_out = {frame.name for frame in measured[1].group.frames}
    entries = []
    for frame in frames:
        present = inputs.present.get(frame.name)
        labels = labels_of(inputs.labels[frame.name], inputs.scores.get(frame.name), present)
        use = "held out" if frame.name in held_out else USES.get(frame.split, "tested on")
        record, answer = records[frame.name], answers.get(frame.name, "")
        entries.append(frame_entry(frame.name, frame.source, use, frame.time_s, labels, record, answer))
    return entries


def _curves(path: Path) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return the curves of the segmenter's training by their titles."""
    found = load_curves(path) if os.path.lexists(path) else {}
    return [(CURVES.get(name, name), points) for name, points in found.items() if name != "lr"]
