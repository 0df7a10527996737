"""`wildseg calibrate`: a threshold per class from scores and frames ticked by hand, as a part of params.yaml."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError, did_you_mean
from wildseg.core.params import Params
from wildseg.labels.calibration import MIN_FRAMES, ThresholdFit, fit_thresholds
from wildseg.labels.decide import relative_scores

REST = "these keep the method's own threshold; where label.rule fixed has none, tick more frames or give them a number"
DIGITS = 7  # scores are kept with six: a cut between two of them has seven


def show(artifacts: Artifacts, params: Params, ticked: Path | None = None, precision: float | None = None) -> None:
    """Print how sure each class's threshold is, and the thresholds as they stand in params.yaml.

    Args:
        artifacts: of the project; `label` has run.
        params: its parameters. With label.rule relative the thresholds are relative, else fixed.
        ticked: a table of frames and their classes; data/labels/overrides.csv by default.
        precision: the precision wanted; None for the best F1.

    Raises:
        DataError: there are no scores or no ticked frames, one is unknown, or they are too few to fit any threshold.
    """
    names, path = params.classes.names, ticked or artifacts.overrides_csv
    scores, truth = artifacts.load_scores(names), artifacts.load_labels(names, path)
    set_aside = {frame for frame, _ in artifacts.load_quarantine("label")} & set(truth)
    frames = _known([frame for frame in truth if frame not in set_aside], scores, path)
    belief = np.stack([scores[frame] for frame in frames])
    relative = params.label.rule == "relative"
    fits = fit_thresholds(
        relative_scores(belief) if relative else belief, np.stack([truth[frame] for frame in frames]), precision
    )
    if all(own.missing for own in fits):
        raise DataError(f"{path}: {_nothing_to_fit(names, fits, [truth[frame] for frame in frames])}")
    wanted = "the best F1" if precision is None else f"a precision of {precision:g}"
    without = f" ({len(set_aside)} in quarantine left out)" if set_aside else ""
    print(f"calibrate: {len(frames)} frames of {path}{without}, for {wanted}; in brackets 95 % intervals")
    print("\n".join(_table(names, fits, precision)))
    rule = "relative" if relative else "fixed"
    thresholds = {name: round(own.threshold, DIGITS) for name, own in zip(names, fits, strict=True) if not own.missing}
    if left_out := [name for name in names if name not in thresholds]:
        print(f"\nleft out: {', '.join(left_out)}; {REST}")
    print("\nparams.yaml:\n")
    print(yaml.safe_dump({"label": {"rule": rule, "threshold": thresholds}}, sort_keys=False, allow_unicode=True))


def _nothing_to_fit(names: Sequence[str], fits: Sequence[ThresholdFit], ticked: Sequence[np.ndarray]) -> str:
    """Say why there is no threshold at all, and what to do."""
    name, own = max(zip(names, fits, strict=True), key=lambda pair: min(pair[1].present, pair[1].absent))
    number = "1 frame" if len(ticked) == 1 else f"{len(ticked)} frames"
    if min(own.present, own.absent) >= MIN_FRAMES:
        lack = f", whose scores tell no class apart ({name} has {own.missing}); try another label.method or clip.model"
    elif all(np.array_equal(row, ticked[0]) for row in ticked):
        alike = "" if len(ticked) == 1 else ", which are all ticked alike"
        lack = f"{alike}; tick frames of other places, some 20 in all"
    else:
        lack = f", of which {own.present} show {name} and {own.absent} do not, and other classes are further from it; "
        lack += "tick frames that differ, some 20 in all"
    return (
        f"expected for some class {MIN_FRAMES} ticked frames with it and {MIN_FRAMES} without it, and scores that differ; "
        f"found {number}{lack}, or leave label.threshold at auto"
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
    width = max(5, *(len(name) for name in names))
    lines = [f"{'class':<{width}}  present  absent  {'threshold':<21}  {'precision':<21}  {'recall':<21}"]
    for name, own in zip(names, fits, strict=True):
        cells = (
            _cell(own.threshold, own.threshold_interval),
            _cell(own.precision, own.precision_interval),
            _cell(own.recall, own.recall_interval),
        )
        told = "  ".join(f"{cell:<21}" for cell in cells)
        lines.append(f"{name:<{width}}  {own.present:>7}  {own.absent:>6}  {told}  {_remark(own, precision)}".rstrip())
    return lines


def _cell(value: float, interval: tuple[float, float]) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if math.isnan(interval[0]) else f"{value:.3f} ({interval[0]:.3f}..{interval[1]:.3f})"


def _remark(own: ThresholdFit, precision: float | None) -> str:
    remarks = [own.missing] if own.missing else []
    if own.predicts_all:
        remarks.append("it names all frames: its scores do not tell which show it")
    if precision is not None and not own.reaches_precision:
        remarks.append(f"a precision of {precision:g} is out of reach")
    return "; ".join(remarks)
