"""Every loss, class-balanced weights, a mean teacher and two rounds on the default drive: mIoU of the trained model.

    python -m benchmarks.losses                         # all: each trains the U-Net of params.yaml
    python -m benchmarks.losses dice mean_teacher       # some
    python -m benchmarks.losses dice --steps 20         # a shorter training

Needs a finished `dvc repro`, whose pseudo masks are trained on. Writes nothing into the project: models go to a
temporary folder. Everything but what the row names is that of params.yaml, the number of steps included. Intervals are
those of 95 % over redrawn samples of frames, of neighbouring frames together. Seconds are those of the whole stage on
this machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photographs import Counted
from benchmarks.project import ROOT, link
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.errors import one_of
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.methods import predictor
from wildseg.metrics.confusion import confusion_matrix
from wildseg.metrics.groups import split_groups
from wildseg.stages.train import stage as train

INPUTS = ("data/frames", "data/labels", "data/masks", "data/truth", "data/raw")
STRETCH = 4  # key frames that are drawn together
VARIANTS: Mapping[str, Mapping[str, Any]] = {  # changes to the section train
    "cross_entropy": {},
    "confidence_guided": {"loss": "confidence_guided"},
    "confidence_guided_all": {"loss": "confidence_guided", "options": {"confidence_guided": {"mean": "all"}}},
    "symmetric_cross_entropy": {"loss": "symmetric_cross_entropy"},
    "generalised_cross_entropy": {"loss": "generalised_cross_entropy"},
    "dice": {"loss": "dice"},
    "dice_and_cross_entropy": {"loss": "dice", "options": {"dice": {"cross_entropy": 1.0}}},
    "class_balanced": {"class_weights": "class_balanced"},
    "mean_teacher": {"teacher": "mean_teacher"},
    "two_rounds": {"rounds": 2},
}


def main() -> None:
    """Print one line of a Markdown table per variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="TRAINING", help=f"of {', '.join(VARIANTS)}; default: all")
    parser.add_argument("--steps", type=int, help="of each training; default: train.steps")
    given = parser.parse_args()
    os.environ["WILDSEG_TRACKING"] = "off"
    os.environ["WILDSEG_CACHE"] = "off"
    for name in given.names:
        one_of("losses", name, tuple(VARIANTS))
    default = params.load(ROOT / "params.yaml")
    default = replace(default, train=replace(default.train, steps=given.steps or default.train.steps))
    print("| training | val mIoU | test mIoU | test mIoU, held out | train, s |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for name in given.names or VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, variant(default, name), Path(folder)), flush=True)


def variant(default: Params, name: str) -> Params:
    """Return the parameters of a row."""
    changes = dict(VARIANTS[name])
    options = {**default.train.options, **changes.pop("options", {})}
    return replace(default, train=replace(default.train, **changes, options=options))


def row(name: str, values: Params, folder: Path) -> str:
    """Train in `folder`, measure, and return a line of the table."""
    artifacts = Artifacts(folder)
    link(folder, INPUTS)
    start = time.perf_counter()
    train.run(values, artifacts, Runtime.from_environment())
    took = time.perf_counter() - start
    if (source := folder / values.extract.source).is_dir():  # truth may travel with the videos
        artifacts.truth_folders.append(source / "truth")
    frames = artifacts.load_frames(after="crf")
    seen, held_out = split_groups(frames, values.classes.names, background=bool(values.background))
    groups = ([frame for frame in frames if frame.split == "val"], seen.tested, held_out.tested)
    return f"| {name} | {' | '.join(_miou(values, artifacts, group) for group in groups)} | {took:.0f} |"


def _miou(values: Params, artifacts: Artifacts, frames: Sequence[Frame]) -> str:
    """Return the mIoU of the trained model on the frames that have a truth, with its interval."""
    network, _ = predictor.load(artifacts.segmenter_folder)
    names, matrices = values.classes.names, []
    for frame in frames:
        image = artifacts.load_image(frame.name)
        truth = artifacts.load_truth(frame, names, (image.shape[0], image.shape[1]))
        if truth is not None:
            (ids,) = network.predict([image], values.eval.scales, values.eval.flip)
            matrices.append(confusion_matrix(truth, ids, len(names) + 1))
    return Counted(np.stack(matrices), STRETCH).text() if matrices else "-"


if __name__ == "__main__":
    main()
