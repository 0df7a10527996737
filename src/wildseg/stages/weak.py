"""Beside the pipeline: activation maps -> boxes, points and scribbles, frame by frame over worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wildseg.artifacts.project import Artifacts, FrameBoxes
from wildseg.artifacts.weak import WEAK
from wildseg.core.colours import palette
from wildseg.core.files import atomic, empty_dir, save_json
from wildseg.crf.weak.summary import summary
from wildseg.execution.failures import Failures
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.report.sampling import sample_evenly
from wildseg.report.weak import draw
from wildseg.stages.tasks.weak import WeakTask

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write data/boxes.json, data/points, data/scribbles, metrics/weak.json and pictures in metrics/weak.

    Frames with an unreadable image or maps are listed in quarantine.csv of points and scribbles, after those of earlier
    stages.

    Raises:
        DataError: no key frames, or too many of them, or of their maps, that cannot be read or do not fit.
    """
    quarantined = artifacts.load_quarantine("cam")
    frames = [frame.name for frame in artifacts.load_frames(after="cam")]
    task = WeakTask(artifacts.root, params.weak, len(params.classes), bool(params.background), params.seed)
    failures = Failures("weak", params.weak.max_failures, len(frames))
    results = run_frames(task, frames, runtime, failures, packed=artifacts.frames_are_packed())
    records = {frame: results.records[frame] for frame in results.frames}
    names = params.classes.with_background
    artifacts.save_boxes({frame: _boxes_of(record) for frame, record in records.items()}, params.classes.names)
    artifacts.save_points((frame, x, y, names[i]) for frame, record in records.items() for x, y, i in record["points"])
    folder = empty_dir(artifacts.metrics_path("weak"))
    for frame in sample_evenly([results.frames], params.weak.pictures):
        sheet = _sheet(params, artifacts, frame, records[frame])
        with atomic(folder / f"{frame}.png") as temporary:
            Image.fromarray(sheet).save(temporary)
    for kind in WEAK:
        artifacts.save_quarantine(kind, quarantined + failures.rows)
    report = summary(records.values(), names)
    save_json(artifacts.metrics_path("weak.json"), report)
    print(
        f"weak: {len(records)} frames, {report['boxes']} boxes, {report['points']} points, "
        f"scribbles on {report['scribbled']:.2%} of pixels{failures}{results}"
    )


def _boxes_of(record: Mapping[str, Any]) -> FrameBoxes:
    width, height = record["size"]
    return FrameBoxes(width, height, np.array(record["boxes"], np.float64).reshape(-1, 6))


def _sheet(params: Params, artifacts: Artifacts, frame: str, record: Mapping[str, Any]) -> np.ndarray:
    """Return the picture of a frame and its weak labels, (height, width, 3) uint8 RGB."""
    boxes, points = _boxes_of(record).boxes, np.array(record["points"], int).reshape(-1, 3)
    lines = artifacts.load_weak("scribbles", frame)
    colours = palette(params.classes.names, params.colours)
    return draw(frame, artifacts.load_image(frame), boxes, points, lines, params.classes.with_background, colours)
