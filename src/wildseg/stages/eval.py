"""Stage 6: labels, maps, pseudo masks and the model against the truth, where there is truth; pictures either way.

Two groups are measured apart. The drive: sources of which some frames were trained on; its model is measured on the
frames kept out as `test`, everything before the model on all frames. Unseen: sources of which no frame was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth import Seen, check_start, doubt_start
from wildseg.artifacts.truth_names import explain, misfits, pictures
from wildseg.core.classes import BACKGROUND, IGNORE
from wildseg.core.errors import DataError
from wildseg.core.files import atomic, fresh, load_label_image, save_json, save_plotted_table
from wildseg.core.progress import track
from wildseg.core.project_root import project_root
from wildseg.crf.unary import upsample, with_background
from wildseg.execution.runtime import Runtime
from wildseg.metrics.confusion import answered, miou, one_higher
from wildseg.metrics.levels import Levels, classes_in
from wildseg.report.choose import evenly
from wildseg.report.pictures import Label, Page, draw
from wildseg.report.tables import (
    CONFUSION_COLUMNS,
    FORGOTTEN_COLUMNS,
    IOU_COLUMNS,
    confusion_rows,
    forgotten_rows,
    iou_rows,
)
from wildseg.stages import inference
from wildseg.tracking import mlflow_run

if TYPE_CHECKING:
    from wildseg.execution.params import Params

SPLITS = {"train": "trained on", "val": "used to choose the best checkpoint"}  # in the title of a picture


@dataclass
class _Group:
    """Frames that are measured together: labels, maps and masks on `frames`, the model on `tested` of them."""

    title: str
    frames: list[Frame]
    tested: list[Frame]
    levels: Levels


@dataclass
class _Inputs:
    """What earlier stages left, as far as it is read at once."""

    params: Params
    artifacts: Artifacts
    labels: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray] | None
    truths: Mapping[str, Path]
    seen: Seen

    def truth(self, frame: Frame, shape: tuple[int, ...]) -> np.ndarray | None:
        """Read the truth of a frame, or None where there is none."""
        if (path := self.truths.get(frame.name)) is None:
            return None
        mask = self.artifacts.read_truth(path, self.params.classes.names, (shape[0], shape[1]))
        self.seen.add(mask)
        return mask.ids

    def has_truth(self, frame: Frame) -> bool:
        return frame.name in self.truths


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write metrics/eval.json, tables and pictures in metrics/eval; complete the MLflow run.

    Raises:
        DataError: a stage before left something out, the model is of other classes, or truths are of names, sizes or
            ids that fit no key frame or class.
    """
    frames = artifacts.load_frames(after="crf")
    inputs = _read(params, artifacts, frames)
    told = _misfits(artifacts, frames, inputs.truths)
    groups = _groups(params, frames)
    shown = evenly([_worth_showing(inputs, group) for group in groups], params.eval.pictures)

    answers = fresh(artifacts.scratch_folder / "eval")
    asked = [frame.name for group in groups for frame in _asked(inputs, group, shown)]
    how = inference.Settings(params.classes.names, params.eval.scales, params.eval.flip)
    from_cache = inference.predict(artifacts, runtime, asked, how, answers)
    for group in groups:
        _measure(inputs, group, answers)
    told += _told_of_truth(inputs)

    drive, unseen = groups
    metrics = _metrics(drive, unseen)
    folder = fresh(artifacts.metrics_path("eval"))
    (folder / "pictures").mkdir()  # also when none is wanted: plots look for it
    pictures = [_save_page(folder, frame, inputs, groups, _answer(answers, frame)) for frame in shown]
    told += _told_of_agreement(inputs, groups)
    shutil.rmtree(answers)
    _save_tables(folder, drive, unseen)
    save_json(artifacts.metrics_path("eval.json"), metrics)
    mlflow_run.finish(artifacts, params, metrics, pictures)
    print("\n".join([*told, *_summary(drive, unseen, len(pictures), from_cache)]))


def masks_by_group(params: Params, artifacts: Artifacts) -> tuple[_Group, _Group]:
    """Return the drive and the unseen sources with labels, maps and pseudo masks measured; no model is needed."""
    frames = artifacts.load_frames(after="crf")
    inputs = _read(params, artifacts, frames)
    groups = _groups(params, frames)
    for group in groups:
        _measure(inputs, group, None)
    _told_of_truth(inputs)
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
    scores = artifacts.load_scores(names) if os.path.lexists(artifacts.scores_csv) else None
    return _Inputs(params, artifacts, labels, scores, artifacts.find_truth(frames), Seen())


def _misfits(artifacts: Artifacts, frames: Sequence[Frame], truths: Mapping[str, Path]) -> list[str]:
    """Return lines on masks that are of no key frame, and on why there is none at all.

    Raises:
        DataError: there are masks, and none has the name of a frame, of this source or another.
    """
    lines = []
    left = misfits(artifacts.truth_folders, frames, truths)
    for folder in artifacts.truth_folders:
        if own := [path for path in left.misnamed if path.is_relative_to(folder)]:
            line = explain(own, frames, folder)
            if not truths:
                raise DataError(f"eval: {line}")
            lines.append(f"eval: {len(truths)} key frames have a truth; {line}")
    if not truths:
        lines.append(f"eval: {_why_none(artifacts, frames, left.elsewhere)}; nothing is measured, all metrics are null")
    return lines


def _why_none(artifacts: Artifacts, frames: Sequence[Frame], elsewhere: Sequence[Path]) -> str:
    folder = artifacts.truth_folders[0]
    if elsewhere:
        return (f"no key frame has a truth: {len(elsewhere)} masks are of other frames, such as {elsewhere[0]}; "
                f"key frames are {frames[0].name}, ...")  # fmt: skip
    project = project_root(artifacts.root)
    there = project / "data" / "truth"
    if project != artifacts.root.resolve() and (count := len(list(pictures(there)))):
        return (
            f"no key frame has a truth in this experiment's copy of the project, which holds what git and DVC track: "
            f"{there} has {count} masks that neither does; 'git add' them, or put them into {there}/<source> and "
            f"'dvc add data/truth/<source> && git add data/truth', and 'git commit', then queue it again"
        )
    return f"no key frame has a truth ({folder}/{frames[0].name}.png)"


def _told_of_truth(inputs: _Inputs) -> list[str]:
    """Return lines on what truths held; raises a DataError for ids that fit no order of classes."""
    params, seen = inputs.params, inputs.seen
    folder = inputs.artifacts.truth_folders[0]
    names, background = params.classes.names, bool(params.background)
    doubt = check_start(seen.pixels, seen.masks, names, folder, background=background)
    lines = [f"eval: {doubt}"] if doubt else []
    if seen.resampled:
        lines.append(f"eval: {seen.resampled} truths of another size were brought to that of their frame by its "
                     "nearest pixels")  # fmt: skip
    return lines


def _told_of_agreement(inputs: _Inputs, groups: tuple[_Group, _Group]) -> list[str]:
    """Return a line where ids of masks without a map agree with the pseudo masks only once they are one higher."""
    if not inputs.seen.masks:
        return []
    matrix = answered(groups[0].levels.pseudo.matrix + groups[1].levels.pseudo.matrix)
    folder, names = inputs.artifacts.truth_folders[0], inputs.params.classes.names
    doubt = doubt_start(miou(matrix), miou(one_higher(matrix)), names, folder)
    return [f"eval: {doubt}"] if doubt else []


def _groups(params: Params, frames: list[Frame]) -> tuple[_Group, _Group]:
    known = {frame.source for frame in frames if frame.split != "test"}
    drive = [frame for frame in frames if frame.source in known]
    unseen = [frame for frame in frames if frame.source not in known]
    kept_out = [frame for frame in drive if frame.split == "test"]
    levels = [Levels(params.classes.names, bool(params.background)) for _ in range(2)]
    return (
        _Group("kept out of training", drive, kept_out, levels[0]),
        _Group("of a source that was never trained on", unseen, unseen, levels[1]),
    )


def _worth_showing(inputs: _Inputs, group: _Group) -> list[Frame]:
    frames = group.tested or group.frames
    with_truth = [frame for frame in frames if inputs.has_truth(frame)]
    return with_truth if len(with_truth) >= inputs.params.eval.pictures else frames


# Compute ---------------------------------------------------------------------------------------------------------


def _measure(inputs: _Inputs, group: _Group, answers: Path | None) -> None:
    """Count labels, maps and pseudo masks of the frames that have a truth, and of tested ones the model's answers."""
    params, artifacts = inputs.params, inputs.artifacts
    frames, tested = [frame for frame in group.frames if inputs.has_truth(frame)], set(group.tested)
    for frame in track(frames, len(frames), "eval: masks") if frames else ():
        mask = artifacts.load_mask(frame.name)
        if (truth := inputs.truth(frame, mask.shape)) is None:
            continue
        present, valid = classes_in(truth, len(params.classes), params.eval.min_presence)
        scores = None if inputs.scores is None else inputs.scores.get(frame.name)
        group.levels.add_labels(present, valid, inputs.labels[frame.name], scores)
        ids = ids_of_maps(*artifacts.load_maps(frame.name), mask.shape, background=bool(params.background))
        group.levels.cam.add(truth, ids)
        group.levels.pseudo.add(truth, mask)
        if answers is not None and frame in tested:
            group.levels.segmenter.add(truth, _answer(answers, frame))


def ids_of_maps(classes: np.ndarray, maps: np.ndarray, shape: tuple[int, ...], background: bool) -> np.ndarray:
    """Return the ids (H, W) uint8 that the maps say by themselves: the largest wins, or background with 1 - max map.

    A frame without any class is background; without a background to fall back on it is 255, which counts as wrong.
    """
    large = upsample(maps, (shape[0], shape[1]))  # (K, H, W)
    scores = with_background(large, alpha=1) if background else large  # (K or K + 1, H, W)
    ids = np.concatenate([np.full(int(background), BACKGROUND), classes + 1]).astype(np.uint8)
    return ids[scores.argmax(axis=0)] if len(ids) else np.full(shape, IGNORE, np.uint8)


def _asked(inputs: _Inputs, group: _Group, shown: Collection[Frame]) -> list[Frame]:
    """Return the frames of a group that the model shall answer: those that are measured or shown."""
    measured = {frame for frame in group.tested if inputs.has_truth(frame)}
    return [frame for frame in group.frames if frame in measured or frame in shown]


def _answer(answers: Path, frame: Frame) -> np.ndarray:
    return load_label_image(inference.answer_path(answers, frame.name))


def _metrics(drive: _Group, unseen: _Group) -> dict[str, Any]:
    """Return metrics/eval.json; `miou` and `recall` repeat those of the model on the drive."""
    report = drive.levels.report()
    return {
        "miou": report["segmenter"]["miou"],
        "recall": report["segmenter"]["recall"],
        **report,
        "unseen": unseen.levels.report() if unseen.frames else None,
    }


# Write -----------------------------------------------------------------------------------------------------------


def _save_page(folder: Path, frame: Frame, inputs: _Inputs, groups: tuple[_Group, _Group], answer: np.ndarray) -> Path:
    params, artifacts = inputs.params, inputs.artifacts
    truth = inputs.truth(frame, answer.shape)
    classes, maps = artifacts.load_maps(frame.name)
    title = SPLITS.get(frame.split) or next(group.title for group in groups if frame in group.frames)
    page = Page(
        title=f"{frame.name} · {title}",
        image=artifacts.load_image(frame.name),
        labels=_labels(inputs, frame, truth),
        classes=classes,
        maps=upsample(maps, (answer.shape[0], answer.shape[1])),
        pseudo=artifacts.load_mask(frame.name),
        prediction=answer,
        truth=truth,
    )
    path = folder / "pictures" / f"{frame.name}.png"
    with atomic(path) as temporary:
        Image.fromarray(draw(page, params.classes.with_background)).save(temporary)
    return path


def _save_tables(folder: Path, drive: _Group, unseen: _Group) -> None:
    seen, new = drive.levels.report(), unseen.levels.report()
    levels = {"maps": seen["cam"], "pseudo masks": seen["pseudo"], "model": seen["segmenter"]}
    save_plotted_table(folder / "iou.csv", IOU_COLUMNS, iou_rows(levels | {"model, unseen": new["segmenter"]}))
    names = ["background", *drive.levels.class_names]
    rows = confusion_rows(drive.levels.segmenter.matrix, names, drive.levels.background)
    save_plotted_table(folder / "confusion.csv", CONFUSION_COLUMNS, rows)
    together = drive.levels.forgotten() + unseen.levels.forgotten()
    save_plotted_table(folder / "forgotten.csv", FORGOTTEN_COLUMNS, forgotten_rows(together, drive.levels.class_names))


def _labels(inputs: _Inputs, frame: Frame, truth: np.ndarray | None) -> list[Label]:
    num_classes = len(inputs.params.classes)
    truly: list[bool | None] = [None] * num_classes
    if truth is not None:
        present, valid = classes_in(truth, num_classes, inputs.params.eval.min_presence)
        truly = [bool(is_in) if counts else None for is_in, counts in zip(present, valid, strict=True)]
    scores = None if inputs.scores is None else inputs.scores.get(frame.name)
    return [
        Label(index, None if scores is None else float(scores[index]), bool(named), truly[index])
        for index, named in enumerate(inputs.labels[frame.name])
    ]


def _summary(drive: _Group, unseen: _Group, pictures: int, from_cache: str) -> Iterator[str]:
    frames = drive.levels.frames + unseen.levels.frames
    tested, new = drive.levels.segmenter.matrix, unseen.levels.segmenter.matrix
    if drive.levels.frames and not tested.any():
        yield "eval: no frame of the drive's test split has a truth, so the model is not measured there"
    if not drive.levels.background and any(group.levels.cam.matrix[BACKGROUND].any() for group in (drive, unseen)):
        yield (
            "eval: the truth has pixels of id 0, background, which count as errors because 'background' is []; "
            "say 'ignore' of them in data/truth/classes.json if they shall not count"
        )
    for where, group in (("the drive", drive), ("unseen sources", unseen)):
        yield from _no_better_than_always(group, where)
    measured = [("model mIoU", tested), ("on unseen sources", new)]
    values = "".join(f", {name} {miou(matrix):.3f}" for name, matrix in measured if matrix.any())
    yield f"eval: {frames} frames with truth, {pictures} pictures{values}{from_cache}"


def _no_better_than_always(group: _Group, where: str) -> Iterator[str]:
    """Yield a line where the labels are no better than naming every class in every frame, unless that is right."""
    labels = group.levels.report()["labels"]
    if labels["f1"] <= labels["always_f1"] and labels["f1"] < 1:
        yield (
            f"eval: labels' F1 {labels['f1']:.3f} on {where} is not above {labels['always_f1']:.3f}, which naming "
            f"every class in every frame reaches ({group.levels.frames} frames with truth): change label.threshold, "
            "label.method or clip.model first"
        )
