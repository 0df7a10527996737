"""Maps of neighbouring frames on the default drives: pseudo masks by crf alone, with `crf.temporal` and without.

    python -m benchmarks.temporal                       # all rows
    python -m benchmarks.temporal nearest between       # some, beside `off`

Needs the frames and maps of a finished `dvc repro`. Writes nothing into the project: masks go to a temporary folder.
Everything but what the row names is that of params.yaml. mIoU counts undecided pixels as wrong. The interval is that of
95 % of the difference to `off`, paired, over frames drawn with replacement. Stability is the share of pixels whose
class stays along the optical flow to the next key frame, at most 2 seconds later.
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
from typing import Any

import numpy as np

from benchmarks.project import ROOT, link
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.errors import one_of
from wildseg.core.flow import Track, tracks
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.metrics import intervals
from wildseg.metrics.confusion import confusion_matrix
from wildseg.metrics.consistency import equal_pixels
from wildseg.metrics.flicker import counts_along_flow
from wildseg.metrics.groups import split_groups
from wildseg.stages import crf

INPUTS = ("data/frames", "data/labels", "data/cams", "data/truth", "data/raw", "data/corrected")
NEAR_S = 2.0  # of two key frames, between which stability is measured
VARIANTS: Mapping[str, Mapping[str, Any]] = {  # changes to the section crf.temporal
    "off": {"neighbours": 0},
    "nearest": {"neighbours": 1, "between": 0},
    "nearest, half the weight": {"neighbours": 1, "between": 0, "weight": 0.5},
    "nearest, between 4": {"neighbours": 1, "between": 4},
    "nearest, between 4, half the weight": {"neighbours": 1, "between": 4, "weight": 0.5},
    "two": {"neighbours": 2, "between": 0},
    "two, between 4": {"neighbours": 2, "between": 4},
    "three, between 4": {"neighbours": 3, "between": 4},
    "four, between 4": {"neighbours": 4, "between": 4},
}


@dataclass(frozen=True)
class Masks:
    """Pseudo masks of the frames of a group: counts against truth (n, 3, K) each, and along the flow (m, 3, K)."""

    counts: np.ndarray
    along: np.ndarray


def main() -> None:
    """Print one line of a Markdown table per variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ROW", help=f"of {', '.join(VARIANTS)}; default: all")
    given = parser.parse_args()
    os.environ["WILDSEG_CACHE"] = "off"
    for name in given.names:
        one_of("temporal", name, tuple(VARIANTS))
    default = params.load(ROOT / "params.yaml")
    print("| crf.temporal | seen: mIoU | gain | stability | held out: mIoU | gain | stability | crf, s | line |")
    print(f"|{' --- |' * 9}", flush=True)
    known: dict[str, Track] = {}
    off = None
    for name in dict.fromkeys(["off", *(given.names or VARIANTS)]):
        values = replace(default, crf=replace(default.crf, temporal=replace(default.crf.temporal, **VARIANTS[name])))
        with tempfile.TemporaryDirectory() as folder:
            found, took, line = measured(values, Path(folder), known)
        off = off or found
        cells = [cell for one, base in zip(found, off, strict=True) for cell in _cells(one, base)]
        print(f"| {' | '.join((name, *cells, f'{took:.0f}', line))} |", flush=True)


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
    names, counts, along = values.classes.names, [], []
    for frame in frames:
        mask = artifacts.load_mask(frame.name)
        truth = artifacts.load_truth(frame, names, (mask.shape[0], mask.shape[1]))
        if truth is not None:
            counts.append(intervals.of_matrix(confusion_matrix(truth, mask, len(names) + 1)))
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
    return Masks(np.stack(counts), np.stack(along))


def _cells(found: Masks, off: Masks) -> tuple[str, str, str]:
    def gain(sums: np.ndarray) -> np.ndarray:  # (d, 2, 3, K)
        return intervals.miou(sums[:, 1]) - intervals.miou(sums[:, 0])

    both = np.stack([off.counts, found.counts], axis=1)
    low, high = intervals.interval(both, gain)
    (difference,) = gain(both.sum(axis=0)[None])
    return (
        f"{float(intervals.miou(found.counts.sum(axis=0))):.3f}",
        f"{difference:+.3f} ({low:+.3f} to {high:+.3f})",
        f"{float(equal_pixels(found.along.sum(axis=0))):.3f}",
    )


if __name__ == "__main__":
    main()
