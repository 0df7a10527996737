"""What earlier stages left for eval, as far as it is read at once, and the truth of frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth import TruthStats
from wildseg.core.colours import palette
from wildseg.core.files import load_json
from wildseg.core.names import check_lines
from wildseg.metrics.levels import classes_in

if TYPE_CHECKING:
    from wildseg.execution.params import Params


@dataclass
class Inputs:
    """Labels and scores by frame, (K,) each, and the paths of truths.

    colours: (256, 3) uint8 RGB by id. seen: counts what truths contain. present: by frame whose truth was measured,
    which classes it shows, and which count, (K,) bool each.
    """

    params: Params
    artifacts: Artifacts
    labels: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    truths: Mapping[str, Path]
    colours: np.ndarray
    seen: TruthStats
    present: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

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


def read(params: Params, artifacts: Artifacts, frames: Sequence[Frame]) -> Inputs:
    """Read labels and scores, and find the truths of `frames`.

    Raises:
        DataError: a frame has no line in labels.csv, or a table is invalid.
    """
    names = params.classes.names
    source = artifacts.root / params.extract.source
    if source.is_dir():  # truth may travel with the videos
        artifacts.truth_folders.append(source / "truth")
    labels = artifacts.load_labels(names)
    check_lines(artifacts.labels_csv, labels, (frame.name for frame in frames), "label")
    scores = artifacts.load_scores(names) if os.path.lexists(artifacts.scores_csv) else {}
    colours = palette(names, params.colours)
    return Inputs(params, artifacts, labels, scores, artifacts.find_truth(frames), colours, TruthStats())


def coverage(artifacts: Artifacts) -> float | None:
    """Return the share of pixels that the pseudo masks of all frames decide, as `crf` counted it; None without it."""
    path = artifacts.metrics_path("crf.json")
    found = load_json(path).get("coverage") if os.path.lexists(path) else None
    return float(found) if isinstance(found, (int, float)) else None
