"""What an evaluation leaves for people: tables behind DVC's plots, and lines on what the numbers say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.core.classes import BACKGROUND
from wildseg.core.tables import save_plotted_table
from wildseg.metrics.confusion import miou
from wildseg.metrics.levels import Levels
from wildseg.report.pictures import Label
from wildseg.report.tables import (
    CONFUSION_COLUMNS,
    IOU_COLUMNS,
    JOINT_FALSE_NEGATIVE_COLUMNS,
    confusion_rows,
    iou_rows,
    joint_false_negative_rows,
)

APART = (
    ("on seen classes", "miou_seen_classes"),
    ("on unseen classes", "miou_unseen_classes"),
    ("harmonic mean", "miou_harmonic"),
)


def save_tables(folder: Path, seen: Levels, held_out: Levels) -> None:
    """Write iou.csv, confusion.csv and joint_false_negatives.csv; of the frames of seen and of held-out sources."""
    report, new = seen.report(), held_out.report()
    levels = {"maps": report["cam"], "pseudo masks": report["pseudo"], "model": report["segmenter"]}
    save_plotted_table(folder / "iou.csv", IOU_COLUMNS, iou_rows(levels | {"model, held out": new["segmenter"]}))
    rows = confusion_rows(seen.segmenter.matrix, ["background", *seen.class_names], seen.background)
    save_plotted_table(folder / "confusion.csv", CONFUSION_COLUMNS, rows)
    together = seen.joint_false_negatives() + held_out.joint_false_negatives()
    save_plotted_table(
        folder / "joint_false_negatives.csv",
        JOINT_FALSE_NEGATIVE_COLUMNS,
        joint_false_negative_rows(together, seen.class_names),
    )


def labels_of(named: np.ndarray, scores: np.ndarray | None, truth: tuple[np.ndarray, np.ndarray] | None) -> list[Label]:
    """Return the labels of a frame as a page shows them.

    Args:
        named: (K,) bool, the classes that the frame is labelled with.
        scores: (K,), or None where the label method gives none.
        truth: present (K,) bool and valid (K,) bool, see `wildseg.metrics.levels.classes_in`; None where it is unknown.
    """
    truly: list[bool | None] = [None] * len(named)
    if truth is not None:
        truly = [bool(is_in) if counts else None for is_in, counts in zip(*truth, strict=True)]
    return [
        Label(index, None if scores is None else float(scores[index]), bool(labelled), truly[index])
        for index, labelled in enumerate(named)
    ]


def remarks(seen: Levels, held_out: Levels) -> Iterator[str]:
    """Yield lines on what was not measured, or measured in vain."""
    if seen.frames and not seen.segmenter.matrix.any():
        yield "no frame of the test split of seen sources has a truth, so the model is not measured there"
    if not seen.background and any(levels.cam.matrix[BACKGROUND].any() for levels in (seen, held_out)):
        yield (
            "the truth has pixels of id 0, background, which count as errors because 'background' is []; "
            "write 'ignore' for them in data/truth/classes.json if they shall not count"
        )
    for where, levels in (("seen sources", seen), ("held-out sources", held_out)):
        yield from _no_better_than_always(levels, where)


def round_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line on the masks of the rounds of self-training, of the metrics ``rounds``, if there were several."""
    if rounds := metrics.get("rounds"):
        values = ", ".join(f"{one['miou_strict']:.3f}" for one in rounds.values())
        yield f"mIoU of the masks of training frames by round: {values}, with open pixels as errors"


def summary(seen: Levels, held_out: Levels, pictures: int) -> str:
    """Return in a few words how many frames have a truth, and a picture, and the model's mIoU where it was measured."""
    measured = [("model mIoU", seen.segmenter.matrix), ("on held-out sources", held_out.segmenter.matrix)]
    values = "".join(f", {name} {miou(matrix):.3f}" for name, matrix in measured if matrix.any())
    if seen.unseen and seen.segmenter.matrix.any():
        found = seen.report()["segmenter"]
        values += "".join(f", {title} {found[name]:.3f}" for title, name in APART)
    return f"{seen.frames + held_out.frames} frames with truth, {pictures} pictures{values}"


def _no_better_than_always(levels: Levels, where: str) -> Iterator[str]:
    """Yield a line where the labels are no better than naming every class in every frame, unless that is right."""
    labels = levels.report()["labels"]
    if labels["f1"] <= labels["always_f1"] and labels["f1"] < 1:
        yield (
            f"labels' F1 {labels['f1']:.3f} on {where} is not above {labels['always_f1']:.3f}, which naming "
            f"every class in every frame reaches ({levels.frames} frames with truth): change label.threshold, "
            "label.method or clip.model first"
        )
