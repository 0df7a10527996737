"""Label-free measures of both groups of frames, on an evenly spread sample of what the model was not trained on."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.artifacts.project import Frame
from wildseg.core.errors import DataError
from wildseg.core.flow import tracks
from wildseg.core.images import load_label_image
from wildseg.core.maps import ids_of_maps
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.metrics import label_free
from wildseg.metrics.agreement import Agreement, agreement
from wildseg.metrics.consistency import neighbours, pair_counts
from wildseg.metrics.flicker import counts_along_flow
from wildseg.metrics.groups import Group
from wildseg.metrics.intervals import stretch_of
from wildseg.metrics.label_free import LabelFree
from wildseg.report.sampling import sample_evenly
from wildseg.stages.eval.inputs import Inputs
from wildseg.stages.eval.label_free_task import LabelFreeTask
from wildseg.stages.eval.measure import places


@dataclass(frozen=True)
class Sample:
    """The frames of both groups that are measured, and the next key frame of those that have one."""

    frames: Sequence[Frame]
    after: Mapping[Frame, Frame]

    @property
    def predicted(self) -> Collection[Frame]:
        """All frames whose prediction is needed."""
        return {*self.frames, *self.after.values()}


def sample(groups: Sequence[Group[Frame]], number: int) -> Sample:
    """Return up to `number` frames, shared among the groups, of those that the model was not trained on, if any."""
    candidates = [group.tested or group.frames for group in groups]
    frames = sample_evenly(candidates, number)
    after = {frame: other for group in groups for frame, other in neighbours(group.frames).items()}
    untrained = {frame for group in candidates for frame in group}
    return Sample(frames, {one: after[one] for one in frames if one in after and after[one] in untrained})


def measure(
    inputs: Inputs, groups: Sequence[Group[Frame]], chosen: Sample, predictions: Path, runtime: Runtime
) -> tuple[list[LabelFree], list[str]]:
    """Count the sampled frames of each group; return the groups' measures, and remarks.

    Args:
        inputs: of the stage.
        groups: seen and held-out sources.
        chosen: frames of both.
        predictions: the folder of the model's ids.
        runtime: of the frame task.
    """
    params = inputs.params
    task = LabelFreeTask(inputs.artifacts.root, params.classes.names, params.eval, predictions)
    names = [frame.name for frame in chosen.frames]
    records = run_frames(task, names, runtime, progress="eval: consistency").records
    table, remarks = _second_labels(inputs)
    found = [_measure_group(inputs, group, chosen, predictions, records) for group in groups]
    for group, one in zip(groups, found, strict=True):
        one.labels = _agreement(inputs.labels, table, [frame.name for frame in group.frames])
    return found, remarks


def joined(metrics: dict[str, Any], found: Sequence[LabelFree]) -> dict[str, Any]:
    """Return metrics/eval.json with ``label_free`` for seen sources, and inside of ``unseen`` for held-out ones."""
    seen, held_out = (one.report() for one in found)
    unseen = metrics["unseen"]
    return {**metrics, "unseen": unseen and {**unseen, "label_free": held_out}, "label_free": seen}


def words(found: Sequence[LabelFree]) -> str:
    """Return the estimated mIoU of the first group that was measured, for the line that the stage prints."""
    measured = [one.estimate().miou for one in found if one.frames]
    if not measured or not math.isfinite(measured[0].value):
        return ""
    low, high = measured[0].interval
    bounds = f" ({low:.3f} to {high:.3f})" if math.isfinite(low) else ""
    return f", estimated without truth {measured[0].value:.3f}{bounds}"


def _measure_group(
    inputs: Inputs, group: Group[Frame], chosen: Sample, predictions: Path, records: Mapping[str, Any]
) -> LabelFree:
    found = LabelFree()
    wanted, where = set(chosen.frames), places(group.frames)
    for frame in group.frames:
        if frame not in wanted:
            continue
        stretch, record = stretch_of(frame.source, frame.time_s, where[frame.name]), records[frame.name]
        confident, pixels = record["confident"]
        found.add_probabilities(stretch, confident, pixels, np.array(record["expected"], np.float64))
        pairs = {name: np.array(record[name]) for name in (label_free.FLIP, label_free.SCALE)}
        pairs |= _pairs(inputs, frame, chosen.after.get(frame), predictions)
        for name, counts in pairs.items():
            found.add_pair(name, stretch, counts)
    return found


def _pairs(inputs: Inputs, frame: Frame, after: Frame | None, predictions: Path) -> dict[str, np.ndarray]:
    """Return the counts of masks and maps with the model, and of the model with itself in the next key frame."""
    artifacts, number = inputs.artifacts, len(inputs.params.classes) + 1
    ids = load_label_image(predictions / f"{frame.name}.png")
    of_maps = ids_of_maps(*artifacts.load_maps(frame.name), ids.shape, background=bool(inputs.params.background))
    pairs = {label_free.MASKS: artifacts.load_mask(frame.name), label_free.MAPS: of_maps}
    if after is not None:
        later = load_label_image(predictions / f"{after.name}.png")
        if later.shape == ids.shape:
            pairs[label_free.NEIGHBOURS] = later
    counted = {name: pair_counts(ids, other, number) for name, other in pairs.items()}
    if label_free.NEIGHBOURS in pairs and after is not None:
        (track,) = tracks([artifacts.load_image(one.name) for one in (frame, after)])
        counted[label_free.ALONG_FLOW] = counts_along_flow(ids, pairs[label_free.NEIGHBOURS], track, number)
    return counted


def _second_labels(inputs: Inputs) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """Return the table `eval.second_labels`, empty where there is none, and a remark where it cannot be read."""
    path = inputs.artifacts.root / inputs.params.eval.second_labels
    if not os.path.lexists(path):
        return {}, []
    try:
        return inputs.artifacts.load_labels(inputs.params.classes.names, path), []
    except DataError as error:
        return {}, [f"labels are not compared with eval.second_labels: {error}"]


def _agreement(
    one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], frames: Sequence[str]
) -> Agreement | None:
    """Return the agreement of two tables; None where they share no frame, or where one was made from the other."""
    both = [frame for frame in frames if frame in other]
    if not both:
        return None
    first, second = (np.stack([table[frame] for frame in both]) for table in (one, other))
    return None if np.array_equal(first, second) else agreement(first, second)  # label.method: given reads this table
