"""Every refinement on the default drives: mIoU of pseudo masks after the CRF, and what each adds to unrefined maps.

    python -m benchmarks.refinements                          # none, each one, and two followed by propagate
    python -m benchmarks.refinements caa+pamr propagate       # some
    python -m benchmarks.refinements lposs cam.options.lposs.constants=published

Needs a finished `dvc repro`, whose frames and labels are used. Writes nothing into the project: maps, masks and the
bank of `memory` go to a temporary folder. Masks decide every pixel (`crf.min_confidence: 0`), so that no gain is one of
coverage. Intervals are those of 95 % over redrawn stretches of frames, the same for both sides of a difference; with
`--frames` of single frames, which promises too much where neighbours are alike. Milliseconds are those of the processor
for a frame in the whole stage `cam`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from benchmarks.project import ROOT, change, link
from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.metrics.confusion import confusion_matrix
from wildseg.metrics.groups import split_groups
from wildseg.metrics.intervals import miou, of_matrix, redraw, stretch_of
from wildseg.stages import crf, memory
from wildseg.stages.cam import stage as cam
from wildseg.stages.cam.regions import needs_regions

INPUTS = ("data/frames", "data/labels", "data/raw", "data/truth", "models/tiny_clip")
NONE = "none"
IN_ORDER = ("lposs+propagate", "memory+propagate")
DRIVES = ("both", "seen", "held out")


@dataclass(frozen=True)
class Measured:
    """What a refinement reaches: counts (n, 3, K) of each frame with a truth, and processor seconds of one in `cam`."""

    counts: np.ndarray
    seconds: float


def main() -> None:
    """Print one line of a Markdown table per refinement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="REFINEMENT|KEY=VALUE", help="default: all, and the default's keys")
    parser.add_argument("--frames", action="store_true", help="redraw single frames")
    given = parser.parse_args()
    os.environ["WILDSEG_TRACKING"] = "off"
    os.environ["WILDSEG_CACHE"] = "off"
    changes = dict(word.split("=", 1) for word in given.words if "=" in word)
    names = [word for word in given.words if "=" not in word] or [*lookup.available("methods.refine"), *IN_ORDER]
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    change(content, {key: yaml.safe_load(value) for key, value in changes.items()})
    stretches, groups = drives(Artifacts(ROOT), params.parse(content), single=given.frames)
    print(f"| cam.refine | {' | '.join(f'{drive} | gain' for drive in DRIVES)} | cam, ms a frame |")
    print(f"| --- |{' --- |' * (2 * len(DRIVES) + 1)}", flush=True)
    plain = None
    for name in [NONE, *(name for name in names if name != NONE)]:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(settings(content, name), Path(folder))
        plain = plain or found
        print(line(name, found, plain, stretches, groups), flush=True)


def settings(content: Mapping[str, object], name: str) -> Params:
    """Return the parameters with the refinements of a name such as ``lposs+propagate``, and all pixels decided."""
    chosen = {**content, "cam": {**content["cam"], "refine": name.split("+")}}  # type: ignore[dict-item]
    values = params.parse(chosen)
    return replace(values, crf=replace(values.crf, min_confidence=0.0))


def measure(values: Params, folder: Path) -> Measured:
    """Make maps and masks in `folder` and compare them with the truth."""
    artifacts = Artifacts(folder)
    link(folder, INPUTS)
    if needs_regions(values.cam):
        memory.run(values, artifacts, Runtime(1, "cpu"), grow=False, rebuild=False)
    start = time.process_time()
    cam.run(values, artifacts, Runtime(1, "cpu"))
    took = time.process_time() - start
    crf.run(values, artifacts, Runtime(1, "cpu"))
    names, counts = values.classes.names, []
    artifacts.truth_folders.append(folder / values.extract.source / "truth")  # truth may travel with the videos
    frames = artifacts.load_frames(after="crf")
    for frame in frames:
        ids = artifacts.load_mask(frame.name)
        truth = artifacts.load_truth(frame, names, (ids.shape[0], ids.shape[1]))
        if truth is not None:
            counts.append(of_matrix(confusion_matrix(truth, ids, len(names) + 1)))
    return Measured(np.stack(counts), took / len(frames))


def drives(artifacts: Artifacts, values: Params, *, single: bool) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """Return the stretch (n,) of each frame with a truth, from 0, and which frames are of each drive, (n,) bool."""
    artifacts.truth_folders.append(artifacts.root / values.extract.source / "truth")
    frames = artifacts.load_frames(after="label")
    known = artifacts.find_truth(frames)
    frames = [frame for frame in frames if frame.name in known]
    _, held_out = split_groups(frames, values.classes.names, background=bool(values.background))
    names = {frame.name for frame in held_out.frames}
    unseen = np.array([frame.name in names for frame in frames])
    keys = [frame.name if single else stretch_of(frame.source, frame.time_s, frame.index) for frame in frames]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    groups = dict(zip(DRIVES, (np.ones_like(unseen), ~unseen, unseen), strict=True))
    return np.array([numbers[key] for key in keys]), groups


def line(name: str, found: Measured, plain: Measured, stretches: np.ndarray, groups: Mapping[str, np.ndarray]) -> str:
    """Return a row of the table: mIoU and its difference to `plain`, with the interval, on each drive."""
    cells = []
    for chosen in groups.values():
        own, other = (measured.counts[chosen] for measured in (found, plain))
        cells.append(f"{miou(own.sum(0)):.3f}")
        gain = miou(own.sum(0)) - miou(other.sum(0))
        low, high = gain_interval(own, other, stretches[chosen])
        cells.append("" if found is plain else f"{gain:+.3f} ({low:+.3f} to {high:+.3f})")
    return f"| `{name.replace('+', ', ')}` | {' | '.join(cells)} | {found.seconds * 1000:.0f} |"


def gain_interval(own: np.ndarray, other: np.ndarray, stretches: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of how much more mIoU `own` has than `other`, the same stretches drawn for both.

    Args:
        own: counts (n, 3, K) of frames.
        other: of the same frames.
        stretches: (n,), the stretch of each frame.
    """
    draws = [miou(redraw(_by_stretch(counts, stretches))) for counts in (own, other)]
    low, high = np.quantile(draws[0] - draws[1], [0.025, 0.975])
    return float(low), float(high)


def _by_stretch(counts: np.ndarray, stretches: np.ndarray) -> np.ndarray:
    return np.stack([counts[stretches == number].sum(0) for number in np.unique(stretches)])


if __name__ == "__main__":
    main()
