"""Labels, maps, pseudo masks and predictions of a group of frames, counted against their truth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from wildseg.artifacts.project import Frame
from wildseg.core.images import load_label_image
from wildseg.core.maps import ids_of_maps
from wildseg.core.progress import track
from wildseg.metrics import budget as steps
from wildseg.metrics.budget import Budget, ceiling, in_truth
from wildseg.metrics.groups import Group
from wildseg.metrics.intervals import stretch_of
from wildseg.stages.eval.inputs import Inputs


def measure(inputs: Inputs, group: Group[Frame], predictions: Path | None) -> Budget:
    """Count the frames of a group that have a truth, and of tested ones the predictions; return the error budget.

    Args:
        inputs: of the stage.
        group: whose levels are counted.
        predictions: the folder of the model's ids; None where the model is not measured.
    """
    budget, places = Budget(len(inputs.params.classes) + 1), _places(group.frames)
    frames, tested = [frame for frame in group.frames if frame.name in inputs.truths], set(group.tested)
    for frame in track(frames, len(frames), "eval: masks") if frames else ():
        stretch = stretch_of(frame.source, frame.time_s, places[frame.name])
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
    right = in_truth(classes, truth)
    ids = ids_of_maps(classes, maps, mask.shape, background=background)
    true_ids = ids if right.all() else ids_of_maps(classes[right], maps[right], mask.shape, background=background)
    levels.cam.add(truth, ids)
    levels.pseudo.add(truth, mask)
    found: dict[str, np.ndarray] = {
        steps.CEILING: ceiling(truth, named), steps.TRUE_MAPS: true_ids, steps.MAPS: ids, steps.MASKS: mask,
    }  # fmt: skip
    if predictions is not None and tested:
        found[steps.MODEL] = load_label_image(predictions / f"{frame.name}.png")
        levels.segmenter.add(truth, found[steps.MODEL])
    for level, of_level in found.items():
        budget.add_ids(level, stretch, tested, truth, of_level)


def _places(frames: list[Frame]) -> dict[str, int]:
    """Return the place of each frame among those of its source, by name."""
    seen: Counter[str] = Counter()
    places = {}
    for frame in frames:
        places[frame.name] = seen[frame.source]
        seen[frame.source] += 1
    return places
