"""What decides pseudo masks beside a frame's own maps: scores of its labels, and maps of neighbouring frames.

    python -m benchmarks.temporal                       # all rows
    python -m benchmarks.temporal two "prior 1"         # some, beside `neither`

Needs the frames, labels and maps of a finished `dvc repro`. Writes nothing into the project: masks go to a temporary
folder. Everything but what the row names is that of params.yaml. mIoU is that of decided pixels; in brackets, and in
gains, undecided ones are errors. Intervals hold 95 % of the differences to `neither`, paired, over redrawn stretches of
six seconds. Stability is the share of pixels whose class stays along the optical flow to the next key frame, at most 2
seconds later.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.project import ROOT, link
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.errors import one_of
from wildseg.core.flow import Track, tracks
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.metrics import intervals
from wildseg.metrics.confusion import confusion_matrix, without_ignored
from wildseg.metrics.consistency import equal_pixels
from wildseg.metrics.flicker import counts_along_flow
from wildseg.metrics.groups import split_groups
from wildseg.stages import crf

INPUTS = ("data/frames", "data/labels", "data/cams", "data/truth", "data/raw", "data/corrected")
NEAR_S = 2.0  # of two key frames, between which stability is measured
ONE = {"label_prior": 1.0}
VARIANTS: Mapping[str, Mapping[str, float]] = {  # changes to the section crf, and to its temporal
    "neither": {"label_prior": 0.0, "neighbours": 0},
    "prior 0.5": {"label_prior": 0.5, "neighbours": 0},
    "prior 1": {**ONE, "neighbours": 0},
    "prior 2": {"label_prior": 2.0, "neighbours": 0},
    "prior 4": {"label_prior": 4.0, "neighbours": 0},
    "two, no prior": {"label_prior": 0.0, "neighbours": 2, "between": 0},
    "nearest": {**ONE, "neighbours": 1, "between": 0},
    "two": {**ONE, "neighbours": 2, "between": 0},
    "two, half the weight": {**ONE, "neighbours": 2, "between": 0, "weight": 0.5},
    "two, between 4": {**ONE, "neighbours": 2, "between": 4},
    "three": {**ONE, "neighbours": 3, "between": 0},
    "three, between 4": {**ONE, "neighbours": 3, "between": 4},
}


@dataclass(frozen=True)
class Masks:
    """Pseudo masks of the frames of a group.

    Attributes:
        counts: against truth, (b, 3, K) of each stretch; undecided pixels are errors.
        decided: the same without pixels that are undecided.
        along: along the flow, (m, 3, K) of each pair of frames.
    """

    counts: np.ndarray
    decided: np.ndarray
    along: np.ndarray

    def __add__(self, other: Masks) -> Masks:
        """Return those of both groups."""
        pairs = ((self.counts, other.counts), (self.decided, other.decided), (self.along, other.along))
        return Masks(*(np.concatenate(pair) for pair in pairs))


def main() -> None:
    """Print one line of a Markdown table per variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ROW", help=f"of {', '.join(VARIANTS)}; default: all")
    given = parser.parse_args()
    os.environ["WILDSEG_CACHE"] = "off"
    for name in given.names:
        one_of("temporal", name, tuple(VARIANTS))
    default = params.load(ROOT / "params.yaml")
    drives = " | ".join(f"{drive}: mIoU | gain | stability" for drive in ("seen", "held out", "both"))
    print(f"| crf | {drives} | crf, s | line |")
    print(f"|{' --- |' * 12}", flush=True)
    known: dict[str, Track] = {}
    neither = None
    for name in dict.fromkeys(["neither", *(given.names or VARIANTS)]):
        with tempfile.TemporaryDirectory() as folder:
            (seen, unseen), took, line = measured(changed(default, **VARIANTS[name]), Path(folder), known)
        found = (seen, unseen, seen + unseen)
        neither = neither or found
        cells = [cell for one, base in zip(found, neither, strict=True) for cell in _cells(one, base)]
        print(f"| {' | '.join((name, *cells, f'{took:.0f}', line))} |", flush=True)


def changed(values: Params, *, label_prior: float, **temporal: float) -> Params:
    """Return the parameters with changes to the section crf."""
    neighbours = replace(values.crf.temporal, **temporal)  # type: ignore[arg-type] # whole numbers where they are such
    return replace(values, crf=replace(values.crf, label_prior=label_prior, temporal=neighbours))


def measured(values: Params, folder: Path, known: dict[str, Track]) -> tuple[list[Masks], float, str]:
    """Run crf in `folder`; return what its masks of seen and held-out sources are, its seconds, and its last line."""
    artifacts = Artifacts(folder)
    link(folder, [path for path in INPUTS if (ROOT / path).exists()])
    start, said = time.perf_counter(), io.StringIO()
    with contextlib.redirect_stdout(said):
        crf.run(values, artifacts, Runtime.from_environment())
    took = time.perf_counter() - start
    if (source := folder / values.extract.source).is_dir():  # truth may travel with the videos
        artifacts.truth_folders.append(source / "truth")
    frames = artifacts.load_frames(after="crf")
    groups = split_groups(frames, values.classes.names, background=bool(values.background))
    found = [masks_of(values, artifacts, group.frames, known) for group in groups]
    return found, took, said.getvalue().strip().splitlines()[-1]


def masks_of(values: Params, artifacts: Artifacts, frames: Sequence[Frame], known: dict[str, Track]) -> Masks:
    """Count the masks of some frames; `known` are tracks that were computed before."""
    names, along = values.classes.names, []
    counts: dict[tuple[str, int], np.ndarray] = {}
    for frame in frames:
        mask = artifacts.load_mask(frame.name)
        truth = artifacts.load_truth(frame, names, (mask.shape[0], mask.shape[1]))
        if truth is not None:
            matrix = confusion_matrix(truth, mask, len(names) + 1)
            own = np.stack([intervals.of_matrix(matrix), intervals.of_matrix(without_ignored(matrix))])
            stretch = intervals.stretch_of(frame.source, frame.time_s, frame.index)
            counts[stretch] = counts.get(stretch, 0) + own
    for one, other in pairwise(frames):
        if one.source != other.source or one.time_s is None or other.time_s is None:
            continue
        if other.time_s - one.time_s > NEAR_S:
            continue
        if one.name not in known:
            (known[one.name],) = tracks([artifacts.load_image(frame.name) for frame in (one, other)])
        if known[one.name].consistent.mean() >= values.crf.temporal.min_consistent:
            masks = (artifacts.load_mask(frame.name) for frame in (one, other))
            along.append(counts_along_flow(*masks, known[one.name], len(names) + 1))
    whole = np.stack([*counts.values()])  # (b, 2, 3, K)
    return Masks(whole[:, 0], whole[:, 1], np.stack(along))


def _cells(found: Masks, neither: Masks) -> tuple[str, str, str]:
    def gain(sums: np.ndarray) -> np.ndarray:  # (d, 2, 3, K)
        return intervals.miou(sums[:, 1]) - intervals.miou(sums[:, 0])

    both = np.stack([neither.counts, found.counts], axis=1)
    low, high = intervals.interval(both, gain)
    (difference,) = gain(both.sum(axis=0)[None])
    return (
        " ".join((_miou(found.decided), f"({_miou(found.counts)})")),
        f"{difference:+.3f} ({low:+.3f} to {high:+.3f})",
        f"{float(equal_pixels(found.along.sum(axis=0))):.3f}",
    )


def _miou(counts: np.ndarray) -> str:
    return f"{float(intervals.miou(counts.sum(axis=0))):.3f}"


if __name__ == "__main__":
    main()
