"""Every CAM method on the default drive: mIoU of maps and pseudo masks against truth, labels as predicted.

    python -m benchmarks.cam_methods                    # all; Score-CAM alone takes longer than the others together
    python -m benchmarks.cam_methods sclip naclip       # some

Needs a finished `dvc repro`. Writes nothing into the project: maps and masks go to a temporary folder. A method that
the model does not support has a line of dashes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.errors import ModelError
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.stages import crf
from wildseg.stages.cam import stage as cam
from wildseg.stages.eval import stage as measure

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print one line of a Markdown table per method, without refinement and with CAA."""
    default = params.load(ROOT / "params.yaml")
    print("| cam.method | refine | scales | maps | pseudo masks | maps, held out | pseudo masks, held out |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
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
    settings = [replace(default.cam, method=name) for name in names or lookup.available("methods.cam")]
    if names:
        return [replace(default, cam=chosen) for chosen in settings]
    single = replace(default.cam, scales=(1.0,))
    refined = replace(default.cam, refine="caa")
    settings += [single, refined, replace(refined, caa=replace(refined.caa, skip_last=1, power=1))]
    return [replace(default, cam=chosen) for chosen in settings]


def levels(values: Params, folder: Path) -> tuple[float, float, float, float]:
    """Run cam and crf in `folder` and return mIoU of maps and masks, on seen and on held-out sources."""
    artifacts = Artifacts(folder)
    (folder / "data").mkdir()
    for shared in ("frames", "labels", "raw", "truth"):
        (folder / "data" / shared).symlink_to(ROOT / "data" / shared, target_is_directory=True)
    (folder / "models").symlink_to(ROOT / "models", target_is_directory=True)
    runtime = Runtime.from_environment()
    cam.run(values, artifacts, runtime)
    crf.run(values, artifacts, runtime)
    found = []
    for group in measure.masks_by_group(values, artifacts):
        report = group.levels.report()
        found += [report["cam"]["miou"], report["pseudo"]["miou_strict"]]
    return found[0], found[1], found[2], found[3]


def _row(values: Params, measured: tuple[float, ...]) -> str:
    chosen = values.cam
    refine = chosen.refine if chosen.refine == "none" else f"caa, skip {chosen.caa.skip_last}, power {chosen.caa.power}"
    scales = ", ".join(f"{scale:g}" for scale in chosen.scales)
    numbers = [f"{value:.3f}" for value in measured] or ["-"] * 4
    return f"| {chosen.method} | {refine} | {scales} | " + " | ".join(numbers) + " |"


if __name__ == "__main__":
    main()
