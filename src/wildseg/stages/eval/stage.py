"""Stage 6: labels, maps, pseudo masks and the model against the truth, where there is truth; pictures either way."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from wildseg.artifacts.frame_counts import FrameCountsFile
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth_remarks import agreement_remarks, id_remarks, unmatched_remarks
from wildseg.core.files import atomic, empty_dir, save_json
from wildseg.core.images import load_label_image
from wildseg.core.maps import upsample
from wildseg.core.progress import track
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.metrics.confusion import Confusion
from wildseg.metrics.groups import Group, split_groups
from wildseg.metrics.groups import report as metrics_of
from wildseg.metrics.headline import headline
from wildseg.metrics.levels import pseudo_measures
from wildseg.report.evaluation import labels_of, remarks, round_lines, save_tables, summary
from wildseg.report.pictures import Page, draw
from wildseg.report.sampling import sample_evenly
from wildseg.stages.eval import label_free, report
from wildseg.stages.eval.inputs import Inputs, coverage, read
from wildseg.stages.eval.measure import measure
from wildseg.stages.eval.report import Measured, shown_frames
from wildseg.stages.eval.task import PredictTask
from wildseg.tracking import mlflow_run

if TYPE_CHECKING:
    from wildseg.execution.params import Params

SPLITS = {"train": "trained on", "val": "used to choose the best checkpoint"}  # in the title of a picture


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write headline.json and eval.json, tables and pictures in metrics/eval, and the report; complete the MLflow run.

    Raises:
        DataError: a stage before left something out, the model is of other classes, or truths are of names, sizes or
            ids that fit no key frame or class.
    """
    frames = artifacts.load_frames(after="crf")
    inputs = read(params, artifacts, frames)
    names, truth_folders, background = params.classes.names, artifacts.truth_folders, bool(params.background)
    lines = unmatched_remarks(truth_folders, frames, inputs.truths, artifacts.root)
    predictions = empty_dir(artifacts.scratch_folder / "eval")
    task = PredictTask(artifacts.root, names, params.eval, predictions)
    seen, held_out = groups = split_groups(frames, names, background=background, unseen=task.unseen)
    shown = sample_evenly([_worth_showing(inputs, group) for group in groups], params.eval.pictures)
    reported = shown_frames(groups, frames, params.eval.report_frames)
    sample = label_free.sample(groups, params.eval.label_free_frames)

    needed = {*shown, *reported, *sample.predicted}
    wanted = [frame.name for group in groups for frame in _wanted(inputs, group, needed)]
    results = run_frames(task, wanted, runtime, progress="eval: model")
    verdicts, notes = label_free.measure(inputs, groups, sample, predictions, runtime)
    measured = [
        Measured(group, measure(inputs, group, predictions), found)
        for group, found in zip(groups, verdicts, strict=True)
    ]
    lines += id_remarks(inputs.seen, names, truth_folders[0], background=background)

    metrics = {**label_free.joined(metrics_of(seen, held_out), verdicts), **(rounds := _rounds(inputs, frames))}
    folder = empty_dir(artifacts.metrics_path("eval"))
    (folder / "pictures").mkdir()  # also when none is wanted: plots look for it
    pictures = [_save_page(folder, frame, inputs, groups, predictions) for frame in shown]
    pseudo = seen.levels.pseudo.matrix + held_out.levels.pseudo.matrix
    lines += agreement_remarks(inputs.seen, pseudo, names, truth_folders[0])
    not_measured = [*remarks(seen.levels, held_out.levels), *notes]
    report.write(inputs, measured, reported, predictions, runtime, not_measured)
    shutil.rmtree(predictions)
    save_tables(folder, seen.levels, held_out.levels)
    counted = [one for part in measured for one in part.budget.by_frame]
    FrameCountsFile(artifacts.root).save_counts(names, counted)
    save_json(artifacts.metrics_path("eval.json"), metrics)
    numbers = headline(metrics, coverage(artifacts)).as_dict()
    save_json(artifacts.metrics_path("headline.json"), numbers)
    mlflow_run.finish(artifacts, params, metrics, numbers, pictures)
    lines += [*not_measured, *round_lines(rounds)]
    lines += [f"{summary(seen.levels, held_out.levels, len(pictures))}{label_free.words(verdicts)}{results}"]
    lines += [f"report of {len(reported)} frames: {artifacts.report_page}"]
    print("\n".join(f"eval: {line}" for line in lines))


def masks_by_group(params: Params, artifacts: Artifacts) -> tuple[Group[Frame], Group[Frame]]:
    """Return seen and held-out sources with labels, maps and pseudo masks measured; no model is needed."""
    frames = artifacts.load_frames(after="crf")
    inputs = read(params, artifacts, frames)
    groups = split_groups(frames, params.classes.names, background=bool(params.background))
    for group in groups:
        measure(inputs, group, None)
    folder, background = artifacts.truth_folders[0], bool(params.background)
    id_remarks(inputs.seen, params.classes.names, folder, background=background)  # raises what is an error
    return groups


# Chosen ----------------------------------------------------------------------------------------------------------


def _worth_showing(inputs: Inputs, group: Group[Frame]) -> list[Frame]:
    frames = group.tested or group.frames
    with_truth = [frame for frame in frames if frame.name in inputs.truths]
    return with_truth if len(with_truth) >= inputs.params.eval.pictures else frames


def _wanted(inputs: Inputs, group: Group[Frame], shown: Collection[Frame]) -> list[Frame]:
    """Return the frames of a group that the model is run on: those that are measured or shown."""
    measured = {frame for frame in group.tested if frame.name in inputs.truths}
    return [frame for frame in group.frames if frame in measured or frame in shown]


# Compute ---------------------------------------------------------------------------------------------------------


def _rounds(inputs: Inputs, frames: Sequence[Frame]) -> dict[str, Any]:
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


def _save_page(folder: Path, frame: Frame, inputs: Inputs, groups: Sequence[Group[Frame]], predictions: Path) -> Path:
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
        Image.fromarray(draw(page, inputs.params.classes.with_background, inputs.colours)).save(temporary)
    return path
