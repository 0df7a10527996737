"""Label methods on the default drive against truth: as decided, and at equal precision.

    python -m benchmarks.label_methods

Needs a finished `dvc repro`. Writes nothing into the project: labels go to a temporary folder. Recall at a precision is
the highest that one threshold on the scores reaches for all classes; mAP is the mean over classes of average precision.
Gain is how much more recall that is than the first line's, with the 95 % interval of 1,000 redrawn samples of stretches
of the video (`extract.stretch_s` long), since neighbouring frames are alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.project import ROOT, link
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.metrics import multilabel
from wildseg.metrics.levels import classes_in
from wildseg.stages import label

INPUTS = ("data/frames", "data/raw", "data/truth", "models/tiny_clip")
PRECISION = 0.95
SETTINGS: tuple[tuple[str, float | str, dict[str, Any]], ...] = (  # method, threshold, options beside the defaults
    ("clip", "auto", {"tiles": 1}),
    ("clip", "auto", {}),
    ("tagclip", "auto", {}),
    ("tagclip", 0.1, {"reidentify": 0.1}),
)


DRAWS = 1000


class Rows(NamedTuple):
    """Frames that have a truth.

    truth, valid, present: (n, K) bool. scores: (n, K) scores. stretch: (n,) the stretch of the video of each.
    """

    truth: np.ndarray
    valid: np.ndarray
    present: np.ndarray
    scores: np.ndarray
    stretch: np.ndarray

    def recall(self, rows: np.ndarray | slice = slice(None)) -> float:
        """Return the recall at equal precision of some rows."""
        return multilabel.recall_at_precision(self.truth[rows], self.scores[rows], PRECISION, self.valid[rows])


def main() -> None:
    """Print one line of a Markdown table per setting and group of sources."""
    default = params.load(ROOT / "params.yaml")
    print("| label.method | threshold | options | sources | precision | recall | F1 | recall at .95 | mAP | gain |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    first: dict[str, Rows] = {}
    for method, threshold, options in SETTINGS:
        own = {**default.label.options.get(method, {}), **options}
        chosen = replace(default.label, method=method, threshold=threshold, options={method: own})
        with tempfile.TemporaryDirectory() as folder:
            found = measured(replace(default, label=chosen), Path(folder))
        first = first or found
        for sources, rows in found.items():
            shown = ", ".join(f"{name}: {value}" for name, value in options.items())
            numbers = " | ".join(f"{value:.3f}" for value in _numbers(rows))
            low, high = gain_in(first[sources], rows)
            gain = f"{rows.recall() - first[sources].recall():+.3f} ({low:+.3f}..{high:+.3f})"
            print(f"| {method} | {threshold} | {shown} | {sources} | {numbers} | {gain} |", flush=True)


def measured(values: Params, folder: Path) -> dict[str, Rows]:
    """Run label in `folder`; return its labels of the frames with truth, by group of sources."""
    artifacts = Artifacts(folder)
    link(folder, INPUTS)
    label.run(values, artifacts, Runtime.from_environment())
    artifacts.truth_folders.append(folder / values.extract.source / "truth")
    names, frames = values.classes.names, artifacts.load_frames()
    labels, scores = artifacts.load_labels(names), artifacts.load_scores(names)
    trained_on = {frame.source for frame in frames if frame.split != "test"}
    found = {}
    for sources, seen in (("seen", {True}), ("held out", {False}), ("both", {True, False})):
        with_truth = [
            (frame, mask)
            for frame in frames
            if (frame.source in trained_on) in seen and (mask := _truth(artifacts, frame, names)) is not None
        ]
        rows = [
            (*classes_in(mask, len(names), values.eval.min_presence), labels[frame.name], scores[frame.name])
            for frame, mask in with_truth
        ]
        truth, valid, present, scores = (np.stack(column) for column in zip(*rows, strict=True))
        stretch = _stretches([frame for frame, _ in with_truth], values.extract.stretch_s)
        found[sources] = Rows(truth, valid, present, scores, stretch)
    return found


def gain_in(one: Rows, other: Rows, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of how much more recall at equal precision `other` has than `one`, on the same frames.

    Stretches are drawn again with replacement, all frames of each; the same for both.
    """
    members = [np.flatnonzero(one.stretch == number) for number in np.unique(one.stretch)]
    rng = np.random.default_rng(seed)
    gains = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[number] for number in rng.integers(0, len(members), len(members))])
        gains.append(other.recall(rows) - one.recall(rows))
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(low), float(high)


def _numbers(rows: Rows) -> tuple[float, ...]:
    report = multilabel.summary(rows.truth, rows.present, rows.scores, rows.valid)
    return report["precision"], report["recall"], report["f1"], rows.recall(), report["map"]


def _stretches(frames: list[Frame], seconds: float | None) -> np.ndarray:
    # (n,) int; a source that is not cut, or has no times, is one stretch
    keys = [(frame.source, 0 if seconds is None else int((frame.time_s or 0.0) // seconds)) for frame in frames]
    number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys])


def _truth(artifacts: Artifacts, frame: Frame, names: Sequence[str]) -> np.ndarray | None:
    height, width, _ = artifacts.load_image(frame.name).shape
    return artifacts.load_truth(frame, names, (height, width))


if __name__ == "__main__":
    main()
