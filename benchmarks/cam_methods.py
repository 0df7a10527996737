"""Every CAM method on the default drive: mIoU of maps and pseudo masks against truth, labels as predicted.

    python -m benchmarks.cam_methods                    # all; Score-CAM alone takes longer than the others together
    python -m benchmarks.cam_methods sclip naclip       # some
    python -m benchmarks.cam_methods classifier l2g     # networks, each trained on the labels of the default's frames
    python -m benchmarks.cam_methods proxyclip          # with the same network as its second encoder, untrained

Needs a finished `dvc repro`. Writes nothing into the project: maps and masks go to a temporary folder. A method that
the model does not support has a line of dashes. Networks are EfficientNet-Lite0 with its ImageNet weights (the extra
`lite0`), with crops for the small frames of the demo; they are measured by name alone. Seconds are those of the whole
stage on this machine, training included.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.photographs import ENCODER, LR
from benchmarks.project import ROOT, link
from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.errors import ModelError
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.stages import crf
from wildseg.stages.cam import stage as cam
from wildseg.stages.eval import stage as measure

INPUTS = ("data/frames", "data/labels", "data/raw", "data/truth", "models/tiny_clip")
CROPS = {**ENCODER, "stride": 8, "size": [192, 288], "crop": 160, "batch_size": 8}
TRAINED: Mapping[str, Mapping[str, Any]] = {  # options beside the defaults
    "classifier": {**CROPS, "epochs": 20, "lr": LR},
    "clims": {**CROPS, "epochs": 10, "baseline_epochs": 10, "baseline_lr": LR},
    "l2g": {**ENCODER, "size": [168, 168], "crop": 160, "patch": 80, "patches": 5, "epochs": 12},
    "proxyclip": {**ENCODER, "stride": 16},
    "ccam": {**CROPS, "lr": LR, "causal_lr": LR, "epochs": 10, "causal_epochs": 10, "prior_size": 128},
}


def main() -> None:
    """Print one line of a Markdown table per method, without refinement and with CAA."""
    os.environ["WILDSEG_TRACKING"] = "off"
    default = params.load(ROOT / "params.yaml")
    print("| cam.method | refine | scales | maps | pseudo masks | maps, held out | pseudo masks, held out | cam, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    wanted = sys.argv[1:]
    for name in wanted:
        lookup.check("methods.cam", name, "cam_methods")
    for values in variants(default, wanted) if wanted else variants(default):
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(_row(values, levels(values, Path(folder))), flush=True)
            except ModelError as error:
                print(_row(values, ()), error, flush=True)


def variants(default: Params, names: Sequence[str] = ()) -> list[Params]:
    """Return the settings that are compared: the named methods; or all, the default at one scale, and refined."""
    free = [name for name in lookup.available("methods.cam") if "files" not in lookup.needs("methods.cam", name)]
    wanted = names or [name for name in free if name not in TRAINED]
    plain = replace(default.cam, refine="none")
    settings = [replace(plain, method=name, options=_options(default, name)) for name in wanted]
    if names:
        return [replace(default, cam=chosen) for chosen in settings]
    single = replace(plain, scales=(1.0,))
    refined = replace(default.cam, refine="caa")
    settings += [single, refined, replace(refined, caa=replace(refined.caa, skip_last=1, power=1))]
    return [replace(default, cam=chosen) for chosen in settings]


def _options(default: Params, name: str) -> Mapping[str, Any]:
    options: Mapping[str, Any] = default.cam.options
    return {**options, name: {**options.get(name, {}), **TRAINED[name]}} if name in TRAINED else options


def levels(values: Params, folder: Path) -> tuple[float, ...]:
    """Return mIoU of maps and masks, on seen and on held-out sources, and the seconds that cam took in `folder`."""
    artifacts = Artifacts(folder)
    link(folder, INPUTS)
    runtime = Runtime.from_environment()
    start = time.perf_counter()
    cam.run(values, artifacts, runtime)
    took = time.perf_counter() - start
    crf.run(values, artifacts, runtime)
    found = []
    for group in measure.masks_by_group(values, artifacts):
        report = group.levels.report()
        found += [report["cam"]["miou"], report["pseudo"]["miou_strict"]]
    return *found, took


def _row(values: Params, measured: tuple[float, ...]) -> str:
    chosen = values.cam
    refine = chosen.refine if chosen.refine == "none" else f"caa, skip {chosen.caa.skip_last}, power {chosen.caa.power}"
    scales = ", ".join(f"{scale:g}" for scale in chosen.scales)
    numbers = [*(f"{value:.3f}" for value in measured[:4]), f"{measured[4]:.0f}"] if measured else ["-"] * 5
    return f"| {chosen.method} | {refine} | {scales} | " + " | ".join(numbers) + " |"


if __name__ == "__main__":
    main()
