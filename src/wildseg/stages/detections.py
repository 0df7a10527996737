"""`wildseg detect`: asks a detector for the classes in all key frames, writes its boxes, and labels made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.project import Artifacts, FrameBoxes
from wildseg.core import lookup
from wildseg.core.errors import WildsegError, did_you_mean
from wildseg.core.lookup import DETECTORS
from wildseg.core.tables import save_table
from wildseg.execution.failures import Failures
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.labels.detection import postprocess, present
from wildseg.stages.tasks.detect import DetectTask

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(
    params: Params,
    artifacts: Artifacts,
    runtime: Runtime,
    *,
    method: str,
    model: str,
    into: Path,
    threshold: float,
    iou: float,
    labels: Path | None,
    presence: Sequence[str],
) -> None:
    """Write boxes of all key frames as COCO has them, and where `labels` is given, a table of the classes in each.

    Frames that cannot be read are in neither, up to the share label.max_failures, as in the stage `label`. What a
    detector answers to a frame is kept, so that a run that was killed goes on where it was.

    Args:
        params: the classes and their phrases.
        artifacts: of the project.
        runtime: where to compute.
        method: a file of `labels/detectors`.
        model: a folder, or a name on the model hub.
        into: the file of boxes.
        threshold: the lowest score of a box.
        iou: of two boxes that overlap by more, the one of the lower score goes.
        labels: a table as label.method `given` reads it.
        presence: see `thresholds`.

    Raises:
        WildsegError: no key frames, no such detector or class, or weights that cannot be used.
    """
    names = params.classes.names
    cuts = thresholds(presence, names, threshold)
    for option, path in (("--into", into), ("--labels", labels)):
        if path is not None and path.is_dir():
            raise WildsegError(f"{option}: expected a file to write, found the folder {path}")
    frames = [frame.name for frame in artifacts.load_frames()]
    failures = Failures("label", params.label.max_failures, len(frames))
    lookup.check(DETECTORS, method, "--method")
    task = DetectTask(artifacts.root, method, model, params.classes.phrases, threshold)
    results = run_frames(task, frames, runtime, failures)
    found: dict[str, FrameBoxes] = {}
    for frame in results.frames:
        width, height = results.records[frame]["size"]
        rows = np.array(results.records[frame]["boxes"], np.float64).reshape(-1, 6)
        found[frame] = FrameBoxes(width, height, postprocess(rows, (width, height), iou))
    artifacts.save_boxes(found, names, into)
    if labels is not None:
        save_labels(labels, found, names, cuts)
    number = sum(len(here.boxes) for here in found.values())
    left_out = "".join(f"\n  left out: {frame} ({reason})" for frame, reason in failures.rows)
    print(
        f"detect: {len(found)} frames, {number} boxes by {method} in {into}{f', labels in {labels}' if labels else ''}"
        f"{results}{left_out}"
    )


def save_labels(path: Path, found: Mapping[str, FrameBoxes], names: Sequence[str], cuts: Sequence[float]) -> None:
    """Write a table of labels: a class is in a frame if a box of it reaches its threshold."""
    rows = [(frame, ",".join(np.array(names)[present(here.boxes, cuts)].tolist())) for frame, here in found.items()]
    save_table(path, ("Frame", "Labels"), rows, quote_all=True)


def thresholds(wishes: Sequence[str], names: Sequence[str], default: float) -> list[float]:
    """Return the threshold of each class from wishes such as ``0.3``, for all, and ``lawn=0.2``, for one.

    Args:
        wishes: as a person gives them.
        names: of the classes.
        default: the lowest score of a box, which is the threshold where no wish says otherwise.

    Raises:
        WildsegError: a wish is none of these, or below the score of any box.
    """
    one, lowest = {}, default
    for wish in wishes:
        name, equals, number = wish.rpartition("=")
        if equals and name not in names:
            raise WildsegError(f"--presence {wish}: there is no such class{did_you_mean(name, names)}")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise WildsegError(
                f"--presence: expected a number from 0 to 1, or a class with one as in lawn=0.2; found {wish!r}"
            )
        if value < lowest:
            raise WildsegError(
                f"--presence {wish}: expected no less than the lowest score of a box, --threshold {lowest:g}; "
                "lower that, too"
            )
        if equals:
            one[name] = value
        else:
            default = value
    return [one.get(name, default) for name in names]
