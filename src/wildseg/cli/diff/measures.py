"""The measures of two runs on the frames that both have with the same truth, and their differences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wildseg.artifacts.frame_counts import FrameCountsFile
from wildseg.cli.diff.revision import Revision
from wildseg.core.files import load_json
from wildseg.metrics import intervals
from wildseg.metrics.frame_counts import HELD_OUT, LABELS, MAPS, MASKS, MODEL, SEEN, FrameCounts, strict, without_open
from wildseg.metrics.headline import headline
from wildseg.metrics.intervals import PerClass
from wildseg.metrics.paired import Difference, difference, differences
from wildseg.report.difference import Row

HEADLINE, EVAL, CRF = "metrics/headline.json", "metrics/eval.json", "metrics/crf.json"
COUNTS = "metrics/eval/counts.csv"
GROUPS = {SEEN: "seen sources", HELD_OUT: "held-out sources"}
# What is measured, on which level, from counts (..., 4, n).
MEASURES: tuple[tuple[str, str, PerClass], ...] = (
    ("model mIoU", MODEL, lambda counts: intervals.miou(strict(counts))),
    ("model recall", MODEL, lambda counts: intervals.mean_recall(strict(counts))),
    ("pseudo masks mIoU", MASKS, lambda counts: intervals.miou(without_open(counts))),
    ("pseudo masks mIoU, open pixels wrong", MASKS, lambda counts: intervals.miou(strict(counts))),
    ("maps mIoU", MAPS, lambda counts: intervals.miou(strict(counts))),
    ("labels F1", LABELS, lambda counts: intervals.micro(intervals.f1)(strict(counts))),
)
# Numbers of the headline that those above have already.
PAIRED = frozenset(("miou", "miou_held_out", "recall", "miou_pseudo", "miou_cam", "f1_labels"))


@dataclass
class Measured:
    """Differences over all classes, and of the model's IoU class by class by group; lines on what was left out."""

    rows: list[Row] = field(default_factory=list)
    classes: dict[str, list[Row]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    frames: int = 0


def measure(first: Revision, second: Revision, class_names: Sequence[str]) -> Measured:
    """Return the differences of two runs; without truth those of the headline alone."""
    found = Measured()
    if all([one.read(COUNTS) for one in (first, second)]):
        counts, others = (FrameCountsFile(one.artifacts.root).load_counts(class_names) for one in (first, second))
        pairs = _pairs(counts, others, found.remarks)
        found.frames = len(pairs)
        for group, title in GROUPS.items():
            own = [pair for pair in pairs if pair[0].group == group]
            found.rows += _rows(own, title)
            if (rows := _by_class(own, class_names)) is not None:
                found.classes[title] = rows
    else:
        found.remarks.append(
            "one of both was made by a version that kept no counts of frames, so that there are no intervals; "
            "'dvc repro eval' there writes them"
        )
    taken = PAIRED if found.frames else frozenset[str]()
    found.rows += _headline_rows(first, second, taken)
    return found


def _pairs(
    first: Sequence[FrameCounts], second: Sequence[FrameCounts], remarks: list[str]
) -> list[tuple[FrameCounts, FrameCounts]]:
    """Return the counts of frames that both runs measured against the same truth, in the same group."""
    others = {one.frame: one for one in second}
    shared = [(one, others[one.frame]) for one in first if one.frame in others]
    same_truth = [pair for pair in shared if np.array_equal(pair[0].truth, pair[1].truth)]
    pairs = [pair for pair in same_truth if pair[0].group == pair[1].group]
    alone = len(first) - len(shared), len(second) - len(shared)
    if shared and any(alone):
        remarks.append(f"{alone[0]} frames with truth are only in the first, {alone[1]} only in the second: left out")
    if other := len(shared) - len(same_truth):
        remarks.append(f"{other} frames have another truth in the second: left out")
    if other := len(same_truth) - len(pairs):
        remarks.append(f"{other} frames are of held-out sources in one of both alone: left out")
    return pairs


def _counts(pairs: Sequence[tuple[FrameCounts, FrameCounts]], level: str) -> list[np.ndarray] | None:
    """Return the counts of both runs by stretch, (b, 4, n) each; None where no frame is measured at the level.

    The model is measured on frames that neither was trained on.
    """
    own = [pair for pair in pairs if level != MODEL or (pair[0].tested and pair[1].tested)]
    if not own:
        return None
    sums: list[dict[str, np.ndarray]] = [{}, {}]
    for pair in own:
        for total, one in zip(sums, pair, strict=True):
            stretch = pair[0].stretch
            total[stretch] = total.get(stretch, 0) + one.levels[level]
    return [np.stack(list(total.values())) for total in sums]


def _rows(pairs: Sequence[tuple[FrameCounts, FrameCounts]], of: str) -> Iterator[Row]:
    for title, level, of_counts in MEASURES:
        if (both := _counts(pairs, level)) is not None:
            found = difference(both[0], both[1], of_counts)
            if math.isfinite(found.first) or math.isfinite(found.second):
                yield Row(title, of, found)


def _by_class(pairs: Sequence[tuple[FrameCounts, FrameCounts]], class_names: Sequence[str]) -> list[Row] | None:
    """Return the model's IoU of each class that one of both has; None where it is not measured."""
    if (both := _counts(pairs, MODEL)) is None:
        return None
    found = differences(both[0], both[1], lambda counts: intervals.iou(strict(counts)))
    rows = zip(("background", *class_names), found, strict=True)
    return [Row(name, "", one) for name, one in rows if math.isfinite(one.first) or math.isfinite(one.second)]


def _headline_rows(first: Revision, second: Revision, without: frozenset[str]) -> Iterator[Row]:
    both = [_headline(one) for one in (first, second)]
    for name in dict.fromkeys([*both[0], *both[1]]):
        values = [math.nan if (value := one.get(name)) is None else value for one in both]
        if name not in without and any(map(math.isfinite, values)):
            yield Row(name.replace("_", " "), "", Difference(values[0], values[1]), paired=False)


def _headline(revision: Revision) -> Mapping[str, float | None]:
    """Return the headline of a run, also of one that is older than its file."""
    if revision.read(HEADLINE):
        content = load_json(revision.artifacts.root / HEADLINE)
        return {name: value for name, value in content.items() if value is None or isinstance(value, (int, float))}
    levels = load_json(revision.artifacts.root / EVAL) if revision.read(EVAL) else {}
    coverage = load_json(revision.artifacts.root / CRF).get("coverage") if revision.read(CRF) else None
    return headline(levels, coverage).as_dict()
