"""`wildseg calibrate`: a threshold per class from scores and frames labelled by hand, as a part of params.yaml."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError, did_you_mean
from wildseg.core.text import aligned
from wildseg.execution.params import Params
from wildseg.labels.calibration import MIN_FRAMES, ThresholdFit, fit_thresholds
from wildseg.labels.decide import relative_scores

REST = (
    "these keep the method's own threshold; where label.rule fixed has none, label more frames by hand or set a number"
)
DIGITS = 7  # scores have six digits: a threshold between two of them has seven


def show(artifacts: Artifacts, params: Params, ticked: Path | None = None, precision: float | None = None) -> None:
    """Print each class's threshold with its confidence interval, and all thresholds as a part of params.yaml.

    Args:
        artifacts: of the project; `label` has run.
        params: its parameters. With label.rule relative the thresholds are relative, else fixed.
        ticked: a table of frames and their classes; data/labels/overrides.csv by default.
        precision: the precision wanted; None for the best F1.

    Raises:
        DataError: there are no scores or no ticked frames, one is unknown, they are too few to fit any threshold, or
            thresholds would be those of tiles.
    """
    relative, grid = params.label.rule == "relative", params.label.grid
    if relative and grid != (1, 1):
        raise DataError(
            "label.grid: with label.rule relative a threshold counts between the lowest and highest score of a tile, "
            f"and scores.csv has those of frames; expected [1, 1], or label.rule fixed; found {list(grid)}"
        )
    names, path = params.classes.names, ticked or artifacts.overrides_csv
    scores, truth = artifacts.load_scores(names), artifacts.load_labels(names, path)
    quarantined = {frame for frame, _ in artifacts.load_quarantine("label")} & set(truth)
    frames = _known([frame for frame in truth if frame not in quarantined], scores, path)
    probability = np.stack([scores[frame] for frame in frames])
    fits = fit_thresholds(
        relative_scores(probability) if relative else probability,
        np.stack([truth[frame] for frame in frames]),
        precision,
    )
    if all(own.missing for own in fits):
        raise DataError(f"{path}: {_nothing_to_fit(names, fits, [truth[frame] for frame in frames])}")
    wanted = "the best F1" if precision is None else f"a precision of {precision:g}"
    without = f" ({len(quarantined)} in quarantine left out)" if quarantined else ""
    print(f"calibrate: {len(frames)} frames of {path}{without}, for {wanted}; in brackets 95 % intervals")
    print("\n".join(_table(names, fits, precision)))
    rule = "relative" if relative else "fixed"
    thresholds = {name: round(own.threshold, DIGITS) for name, own in zip(names, fits, strict=True) if not own.missing}
    if left_out := [name for name in names if name not in thresholds]:
        print(f"\nleft out: {', '.join(left_out)}; {REST}")
    print("\nparams.yaml:\n")
    print(yaml.safe_dump({"label": {"rule": rule, "threshold": thresholds}}, sort_keys=False, allow_unicode=True))


def _nothing_to_fit(names: Sequence[str], fits: Sequence[ThresholdFit], ticked: Sequence[np.ndarray]) -> str:
    """Return why no class has a threshold, and what to do."""
    name, own = max(zip(names, fits, strict=True), key=lambda pair: min(pair[1].present, pair[1].absent))
    number = "1 frame" if len(ticked) == 1 else f"{len(ticked)} frames"
    if min(own.present, own.absent) >= MIN_FRAMES:
        lack = f", whose scores separate no class ({name} has {own.missing}); try another label.method or clip.model"
    elif all(np.array_equal(row, ticked[0]) for row in ticked):
        alike = "" if len(ticked) == 1 else ", which are all ticked alike"
        lack = f"{alike}; tick frames of other places, some 20 in all"
    else:
        lack = f", of which {own.present} show {name} and {own.absent} do not, and other classes are further from it; "
        lack += "tick frames that differ, some 20 in all"
    return (
        f"expected for some class {MIN_FRAMES} ticked frames with it and {MIN_FRAMES} without it, and scores that "
        f"differ; found {number}{lack}, or leave label.threshold at auto"
    )


def _known(frames: Sequence[str], scores: Mapping[str, np.ndarray], path: Path) -> list[str]:
    if not frames:
        raise DataError(
            f"{path}: expected a few frames with their classes, found none; write a line for each (Frame, Labels) that "
            "names all of its classes"
        )
    for frame in frames:
        if frame not in scores:
            raise DataError(
                f"{path}: expected frames of data/labels/scores.csv, found {frame!r}{did_you_mean(frame, scores)}"
            )
    return list(frames)


def _table(names: Sequence[str], fits: Sequence[ThresholdFit], precision: float | None) -> list[str]:
    rows = [("class", "present", "absent", *(f"{name:<21}" for name in ("threshold", "precision", "recall")), "")]
    rows += [
        (
            name,
            str(own.present),
            str(own.absent),
            _cell(own.threshold, own.threshold_interval),
            _cell(own.precision, own.precision_interval),
            _cell(own.recall, own.recall_interval),
            _remark(own, precision),
        )
        for name, own in zip(names, fits, strict=True)
    ]
    return aligned(rows, "<>><")


def _cell(value: float, interval: tuple[float, float]) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if math.isnan(interval[0]) else f"{value:.3f} ({interval[0]:.3f}..{interval[1]:.3f})"


def _remark(own: ThresholdFit, precision: float | None) -> str:
    remarks = [own.missing] if own.missing else []
    if own.predicts_all:
        remarks.append("it is above threshold in all frames: its scores do not separate them")
    if precision is not None and not own.reaches_precision:
        remarks.append(f"a precision of {precision:g} is out of reach")
    return "; ".join(remarks)
