"""Label methods on the default drive against truth: as decided, and at equal precision.

    python -m benchmarks.label_methods

Needs a finished `dvc repro`. Writes nothing into the project: labels go to a temporary folder. Recall at a precision is
the highest that one threshold on the scores reaches for all classes; mAP is the mean over classes of average precision.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wildseg import params
from wildseg.artifacts import Artifacts, Frame
from wildseg.metrics import multilabel
from wildseg.metrics.levels import classes_in
from wildseg.params import Params
from wildseg.runtime import Runtime
from wildseg.stages import label

ROOT = Path(__file__).parents[1]
PRECISION = 0.95
SETTINGS: tuple[tuple[str, float | str, dict[str, Any]], ...] = (  # method, threshold, options beside the defaults
    ("clip", "auto", {"tiles": 1}),
    ("clip", "auto", {}),
    ("tagclip", "auto", {}),
    ("tagclip", 0.1, {"look_again": 0.1}),
)


def main() -> None:
    """Print one line of a Markdown table per setting and drive."""
    default = params.load(ROOT / "params.yaml")
    print("| label.method | threshold | options | drive | precision | recall | F1 | recall at .95 | mAP |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for method, threshold, options in SETTINGS:
        own = {**default.label.options.get(method, {}), **options}
        chosen = replace(default.label, method=method, threshold=threshold, options={method: own})
        with tempfile.TemporaryDirectory() as folder:
            for drive, found in measured(replace(default, label=chosen), Path(folder)).items():
                told = ", ".join(f"{name}: {value}" for name, value in options.items())
                numbers = " | ".join(f"{value:.3f}" for value in found)
                print(f"| {method} | {threshold} | {told} | {drive} | {numbers} |", flush=True)


def measured(values: Params, folder: Path) -> dict[str, tuple[float, ...]]:
    """Run label in `folder`; return precision, recall, F1, recall at equal precision and mAP by drive."""
    artifacts = Artifacts(folder)
    (folder / "data").mkdir()
    for shared in ("frames", "raw", "truth"):
        (folder / "data" / shared).symlink_to(ROOT / "data" / shared, target_is_directory=True)
    (folder / "models").symlink_to(ROOT / "models", target_is_directory=True)
    label.run(values, artifacts, Runtime.from_environment())
    artifacts.truth_folders.append(folder / values.extract.source / "truth")
    names, frames = values.classes.names, artifacts.load_frames()
    labels, scores = artifacts.load_labels(names), artifacts.load_scores(names)
    trained_on = {frame.source for frame in frames if frame.split != "test"}
    found = {}
    for drive, known in (("the drive", {True}), ("unseen", {False}), ("both", {True, False})):
        rows = [
            (*classes_in(mask, len(names), values.eval.min_presence), labels[frame.name], scores[frame.name])
            for frame in frames
            if (frame.source in trained_on) in known and (mask := _truth(artifacts, frame, len(names))) is not None
        ]
        truth, valid, present, belief = (np.stack(column) for column in zip(*rows, strict=True))
        report = multilabel.summary(truth, present, belief, valid)
        at_equal = multilabel.recall_at(truth, belief, PRECISION, valid)
        found[drive] = (report["precision"], report["recall"], report["f1"], at_equal, report["map"])
    return found


def _truth(artifacts: Artifacts, frame: Frame, classes: int) -> np.ndarray | None:
    height, width, _ = artifacts.load_image(frame.name).shape
    return artifacts.load_truth(frame, classes, (height, width))


if __name__ == "__main__":
    main()
