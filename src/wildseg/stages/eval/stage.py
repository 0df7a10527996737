"""Stage 6: labels, maps, pseudo masks and the model against the truth, where there is truth; pictures either way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth import TruthStats
from wildseg.artifacts.truth_remarks import agreement_remarks, id_remarks, unmatched_remarks
from wildseg.core.errors import DataError
from wildseg.core.files import atomic, empty_dir, save_json
from wildseg.core.images import load_label_image
from wildseg.core.maps import ids_of_maps, upsample
from wildseg.core.progress import track
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.metrics.confusion import Confusion
from wildseg.metrics.groups import Group, report, split_groups
from wildseg.metrics.levels import classes_in, pseudo_measures
from wildseg.report.evaluation import labels_of, remarks, round_lines, save_tables, summary
from wildseg.report.pictures import Page, draw
from wildseg.report.sampling import sample_evenly
from wildseg.stages.eval.task import PredictTask
from wildseg.tracking import mlflow_run

if TYPE_CHECKING:
    from wildseg.execution.params import Params

SPLITS = {"train": "trained on", "val": "used to choose the best checkpoint"}  # in the title of a picture


@dataclass
class _Inputs:
    """What earlier stages left, as far as it is read at once."""

    params: Params
    artifacts: Artifacts
    labels: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    truths: Mapping[str, Path]
    seen: TruthStats

    def truth(self, frame: Frame, shape: tuple[int, ...]) -> np.ndarray | None:
        """Read the truth of a frame, or None where there is none."""
        if (path := self.truths.get(frame.name)) is None:
            return None
        mask = self.artifacts.read_truth(path, self.params.classes.names, (shape[0], shape[1]))
        self.seen.add(mask)
        return mask.ids

    def classes_in(self, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which classes a truth shows, and which count: (K,) bool each."""
        return classes_in(truth, len(self.params.classes), self.params.eval.min_presence)


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write metrics/eval.json, tables and pictures in metrics/eval; complete the MLflow run.

    Raises:
        DataError: a stage before left something out, the model is of other classes, or truths are of names, sizes or
            ids that fit no key frame or class.
    """
    frames = artifacts.load_frames(after="crf")
    inputs = _read(params, artifacts, frames)
    names, truth_folders, background = params.classes.names, artifacts.truth_folders, bool(params.background)
    lines = unmatched_remarks(truth_folders, frames, inputs.truths, artifacts.root)
    predictions = empty_dir(artifacts.scratch_folder / "eval")
    task = PredictTask(artifacts.root, names, params.eval, predictions)
    seen, held_out = groups = split_groups(frames, names, background=background, unseen=task.unseen)
    shown = sample_evenly([_worth_showing(inputs, group) for group in groups], params.eval.pictures)

    wanted = [frame.name for group in groups for frame in _wanted(inputs, group, shown)]
    results = run_frames(task, wanted, runtime, progress="eval: model")
    for group in groups:
        _measure(inputs, group, predictions)
    lines += id_remarks(inputs.seen, names, truth_folders[0], background=background)

    metrics = {**report(seen, held_out), **(rounds := _rounds(inputs, frames))}
    folder = empty_dir(artifacts.metrics_path("eval"))
    (folder / "pictures").mkdir()  # also when none is wanted: plots look for it
    pictures = [_save_page(folder, frame, inputs, groups, predictions) for frame in shown]
    pseudo = seen.levels.pseudo.matrix + held_out.levels.pseudo.matrix
    lines += agreement_remarks(inputs.seen, pseudo, names, truth_folders[0])
    shutil.rmtree(predictions)
    save_tables(folder, seen.levels, held_out.levels)
    save_json(artifacts.metrics_path("eval.json"), metrics)
    mlflow_run.finish(artifacts, params, metrics, pictures)
    lines += [*remarks(seen.levels, held_out.levels), *round_lines(rounds)]
    lines += [f"{summary(seen.levels, held_out.levels, len(pictures))}{results}"]
    print("\n".join(f"eval: {line}" for line in lines))


def masks_by_group(params: Params, artifacts: Artifacts) -> tuple[Group[Frame], Group[Frame]]:
    """Return seen and held-out sources with labels, maps and pseudo masks measured; no model is needed."""
    frames = artifacts.load_frames(after="crf")
    inputs = _read(params, artifacts, frames)
    groups = split_groups(frames, params.classes.names, background=bool(params.background))
    for group in groups:
        _measure(inputs, group, None)
    folder, background = artifacts.truth_folders[0], bool(params.background)
    id_remarks(inputs.seen, params.classes.names, folder, background=background)  # raises what is an error
    return groups


# Read ------------------------------------------------------------------------------------------------------------


def _read(params: Params, artifacts: Artifacts, frames: Sequence[Frame]) -> _Inputs:
    names = params.classes.names
    source = artifacts.root / params.extract.source
    if source.is_dir():  # truth may travel with the videos
        artifacts.truth_folders.append(source / "truth")
    labels = artifacts.load_labels(names)
    for frame in frames:
        if frame.name not in labels:
            raise DataError(
                f"{artifacts.labels_csv}: expected a line for the frame {frame.name!r}, found none; "
                "run 'dvc repro label'"
            )
    scores = artifacts.load_scores(names) if os.path.lexists(artifacts.scores_csv) else {}
    return _Inputs(params, artifacts, labels, scores, artifacts.find_truth(frames), TruthStats())


def _worth_showing(inputs: _Inputs, group: Group[Frame]) -> list[Frame]:
    frames = group.tested or group.frames
    with_truth = [frame for frame in frames if frame.name in inputs.truths]
    return with_truth if len(with_truth) >= inputs.params.eval.pictures else frames


def _wanted(inputs: _Inputs, group: Group[Frame], shown: Collection[Frame]) -> list[Frame]:
    """Return the frames of a group that the model is run on: those that are measured or shown."""
    measured = {frame for frame in group.tested if frame.name in inputs.truths}
    return [frame for frame in group.frames if frame in measured or frame in shown]


# Compute ---------------------------------------------------------------------------------------------------------


def _measure(inputs: _Inputs, group: Group[Frame], predictions: Path | None) -> None:
    """Count labels, maps and pseudo masks of frames that have a truth, and of tested ones the model's predictions."""
    artifacts, background, levels = inputs.artifacts, bool(inputs.params.background), group.levels
    frames, tested = [frame for frame in group.frames if frame.name in inputs.truths], set(group.tested)
    for frame in track(frames, len(frames), "eval: masks") if frames else ():
        mask = artifacts.load_mask(frame.name)
        if (truth := inputs.truth(frame, mask.shape)) is None:
            continue
        levels.add_labels(*inputs.classes_in(truth), inputs.labels[frame.name], inputs.scores.get(frame.name))
        levels.cam.add(truth, ids_of_maps(*artifacts.load_maps(frame.name), mask.shape, background=background))
        levels.pseudo.add(truth, mask)
        if predictions is not None and frame in tested:
            levels.segmenter.add(truth, load_label_image(predictions / f"{frame.name}.png"))


def _rounds(inputs: _Inputs, frames: Sequence[Frame]) -> dict[str, Any]:
    """Return ``rounds``: measures of the masks that each round of self-training learned; {} where there was one."""
    artifacts, names = inputs.artifacts, inputs.params.classes.names
    found = {number: Confusion(len(names) + 1) for number in (1, *artifacts.rounds_of_masks())}
    learned = [frame.name for frame in frames if frame.name in inputs.truths and artifacts.was_relabelled(frame.name)]
    if len(found) == 1 or not learned:
        return {}
    for frame in track(learned, len(learned), "eval: rounds"):
        for number, confusion in found.items():
            mask = artifacts.load_mask(frame) if number == 1 else artifacts.load_round_mask(number, frame)
            confusion.add(artifacts.read_truth(inputs.truths[frame], names, (mask.shape[0], mask.shape[1])).ids, mask)
    return {"rounds": {str(number): pseudo_measures(confusion.matrix) for number, confusion in found.items()}}


# Write -----------------------------------------------------------------------------------------------------------


def _save_page(folder: Path, frame: Frame, inputs: _Inputs, groups: Sequence[Group[Frame]], predictions: Path) -> Path:
    """Write the picture of a frame; return where it lies."""
    artifacts = inputs.artifacts
    prediction = load_label_image(predictions / f"{frame.name}.png")
    truth = inputs.truth(frame, prediction.shape)
    present = None if truth is None else inputs.classes_in(truth)
    classes, maps = artifacts.load_maps(frame.name)
    title = SPLITS.get(frame.split) or next(group.title for group in groups if frame in group.frames)
    page = Page(
        title=f"{frame.name} · {title}",
        image=artifacts.load_image(frame.name),
        labels=labels_of(inputs.labels[frame.name], inputs.scores.get(frame.name), present),
        classes=classes,
        maps=upsample(maps, (prediction.shape[0], prediction.shape[1])),
        pseudo=artifacts.load_mask(frame.name),
        prediction=prediction,
        truth=truth,
    )
    path = folder / "pictures" / f"{frame.name}.png"
    with atomic(path) as temporary:
        Image.fromarray(draw(page, inputs.params.classes.with_background)).save(temporary)
    return path
