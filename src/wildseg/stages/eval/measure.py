"""Labels, maps, pseudo masks and predictions of a group of frames, counted against their truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wildseg.artifacts.project import Frame
from wildseg.core.images import load_label_image
from wildseg.core.maps import ids_of_maps
from wildseg.core.progress import track
from wildseg.metrics import budget as steps
from wildseg.metrics.budget import Budget
from wildseg.metrics.confusion import confusion_matrix
from wildseg.metrics.frame_counts import FrameCounts, of_confusion, of_image_labels
from wildseg.metrics.groups import Group
from wildseg.metrics.intervals import of_labels, stretch_of
from wildseg.stages.eval.inputs import Inputs


def measure(inputs: Inputs, group: Group[Frame], predictions: Path | None) -> Budget:
    """Count the frames of a group that have a truth, and of tested ones the predictions; return the error budget.

    Args:
        inputs: of the stage.
        group: whose levels are counted.
        predictions: the folder of the model's ids; None where the model is not measured.
    """
    budget, where = Budget(), places(group.frames)
    frames, tested = [frame for frame in group.frames if frame.name in inputs.truths], set(group.tested)
    for frame in track(frames, len(frames), "eval: masks") if frames else ():
        stretch = stretch_of(frame.source, frame.time_s, where[frame.name])
        _measure_frame(inputs, group, frame, (budget, stretch, frame in tested), predictions)
    return budget


def _measure_frame(
    inputs: Inputs,
    group: Group[Frame],
    frame: Frame,
    counted: tuple[Budget, tuple[str, int], bool],
    predictions: Path | None,
) -> None:
    artifacts, background, levels = inputs.artifacts, bool(inputs.params.background), group.levels
    budget, stretch, tested = counted
    mask = artifacts.load_mask(frame.name)
    if (truth := inputs.truth(frame, mask.shape)) is None:
        return
    target, valid = inputs.present[frame.name] = inputs.classes_in(truth)
    named = inputs.labels[frame.name]
    levels.add_labels(target, valid, named, inputs.scores.get(frame.name))
    budget.add_labels(stretch, tested, target, valid, named)
    classes, maps = artifacts.load_maps(frame.name)
    of_maps = levels.cam.add(truth, ids_of_maps(classes, maps, mask.shape, background=background))
    pixels = of_maps.sum(axis=1)  # of the truth, by id
    right = pixels[classes + 1] > 0
    of_true_maps = of_maps
    if not right.all():
        ids = ids_of_maps(classes[right], maps[right], mask.shape, background=background)
        of_true_maps = confusion_matrix(truth, ids, len(of_maps))
    found = {steps.TRUE_MAPS: of_true_maps, steps.MAPS: of_maps, steps.MASKS: levels.pseudo.add(truth, mask)}
    if predictions is not None and tested:
        found[steps.MODEL] = levels.segmenter.add(truth, load_label_image(predictions / f"{frame.name}.png"))
    budget.add_ceiling(stretch, tested, pixels, named)
    for level, matrix in found.items():
        budget.add_matrix(level, stretch, tested, matrix)
    counts = {steps.LABELS: of_image_labels(of_labels(target, valid, named))}
    counts |= {level: of_confusion(matrix) for level, matrix in found.items() if level != steps.TRUE_MAPS}
    where = f"{stretch[0]} {stretch[1]}"
    budget.by_frame.append(FrameCounts(frame.name, group.name, where, tested, counts))


def places(frames: Sequence[Frame]) -> dict[str, int]:
    """Return the place of each frame among those of its source, by name."""
    seen: Counter[str] = Counter()
    found = {}
    for frame in frames:
        found[frame.name] = seen[frame.source]
        seen[frame.source] += 1
    return found
