"""`wildseg diff`: what two runs differ by, as lines of a terminal and as a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wildseg.cli.diff import frames as pictures
from wildseg.cli.diff import measures, parameters
from wildseg.cli.diff.frames import FrameChange
from wildseg.cli.diff.revision import WORKSPACE, Revision, opened
from wildseg.cli.doctor import record
from wildseg.core.colours import palette
from wildseg.core.errors import WildsegError
from wildseg.core.files import empty_dir, save_bytes
from wildseg.core.text import shorten
from wildseg.report.difference import sentence, table
from wildseg.report.difference_page import DifferencePage, FramePictures, Side, render

MARKER = ".wildseg-diff"  # in a folder that may be emptied
SHOWN = 5  # frames in the terminal
WIDTH = 60  # of a value of a parameter in the terminal


def run(root: Path, first: str, second: str, into: Path, number: int) -> list[str]:
    """Compare two revisions, write the page, and return the lines to print.

    Args:
        root: the project.
        first: a commit, branch, tag or experiment, or `WORKSPACE`.
        second: the same.
        into: the folder of the page.
        number: of frames on the page.

    Raises:
        WildsegError: no such revision, outputs that are not there, other classes, no frame in common, or a folder
            that holds something else.
    """
    _check_folder(into)
    with opened(root, first, second) as (one, other):
        names = parameters.class_names(one, other)
        found = measures.measure(one, other, names)
        if not found.rows and not one.read(pictures.PAGE) and not other.read(pictures.PAGE):
            raise WildsegError(f"{one.name} and {other.name} have no results: 'dvc repro' makes them")
        changed = pictures.changes(one, other, found.remarks)
        remarks = [*found.remarks, *_remarks(root, (one, other), found.frames)]
        page = DifferencePage(
            first=Side("A", one.name, one.facts),
            second=Side("B", other.name, other.facts),
            rows=found.rows,
            classes=found.classes,
            parameters=parameters.changed(one, other),
            agreement=pictures.agreement(changed) if changed else "",
            remarks=remarks,
            names=("background", *names),
            colours=parameters.colours(other),
        )
        shown = [frame for frame in changed if frame.change > 0][:number]
        _write(page, one, other, shown, into)
    return [*_lines(page, changed), f"page: {into / 'index.html'}"]


def _check_folder(into: Path) -> None:
    if into.exists() and not (into.is_dir() and ((into / MARKER).exists() or not any(into.iterdir()))):
        raise WildsegError(
            f"--into {into}: expected no folder, an empty one or that of an earlier diff; it holds others"
        )


def _remarks(root: Path, both: Sequence[Revision], frames: int) -> Iterator[str]:
    if not frames:
        yield (
            "no frame has a truth in both, so that nothing is known of which is better: what follows is how far their "
            "masks agree, and what needs no truth"
        )
    if WORKSPACE in [one.name for one in both]:
        for finding in record.check(root):
            if finding.level != "ok":
                yield f"the workspace's results are of other inputs than it has now: {finding.text}; {finding.remedy}"
                break


def _write(page: DifferencePage, one: Revision, other: Revision, shown: Sequence[FrameChange], into: Path) -> None:
    empty_dir(into)
    save_bytes(into / MARKER, b"")
    files = pictures.draw(one, other, shown, into / "frames", palette(page.names[1:], page.colours))
    drawn = [_frame(frame, own) for frame, own in zip(shown, files, strict=True)]
    save_bytes(into / "index.html", render(replace(page, frames=drawn)).encode())


def _frame(frame: FrameChange, files: Sequence[tuple[str, str]]) -> FramePictures:
    before, after = (_number(entry.get("miou")) for entry in (frame.first, frame.second))
    facts = f"pseudo mask {frame.masks:.1%}, model {frame.model:.1%} of pixels changed"
    if math.isfinite(after - before):
        facts += f"; mIoU of the model {before:.3f} → {after:.3f}"
    values = {"change": frame.change, "masks": frame.masks, "model": frame.model, "iou": after - before}
    return FramePictures(frame.name, facts, values, [(title, f"frames/{name}") for title, name in files])


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _lines(page: DifferencePage, changed: Sequence[FrameChange]) -> list[str]:
    sides = [
        f"{side.letter}: {side.name}" + "".join(f"  {value}" for _, value in side.facts)
        for side in (page.first, page.second)
    ]
    lines = ["\n".join(sides)]
    if page.rows:
        lines.append("\n".join([*table(list(page.rows), "A", "B"), sentence(page.rows[0])]))
    own = [f"  {key}: {shorten(first, WIDTH)} -> {shorten(second, WIDTH)}" for key, first, second in page.parameters]
    lines.append("\n".join(["parameters:", *own]) if own else "parameters: all the same")
    if page.agreement:
        most = [
            f"  {frame.name}: pseudo mask {frame.masks:.1%}, model {frame.model:.1%} of pixels changed"
            for frame in changed[:SHOWN]
            if frame.change
        ]
        lines.append("\n".join([page.agreement, *most]))
    lines += [f"note: {text}" for text in page.remarks]
    return [f"{line}\n" for line in lines]
