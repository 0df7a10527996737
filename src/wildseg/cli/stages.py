"""Commands of the pipeline: one a stage, as dvc.yaml calls them, and the stages beside it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import click

STAGES = {
    "extract": "Choose key frames of videos and photos.",
    "label": "Find which classes are in each key frame.",
    "cam": "Compute one activation map per class and frame.",
    "crf": "Refine the maps to pseudo masks.",
    "train": "Train a segmentation model on the pseudo masks.",
    "eval": "Measure labels, maps, masks and model.",
}

FOLDERS = frozenset({"cam", "eval", "train"})  # stages of several files, of which `stage` is the one that runs

group = click.Group("stages")


def load(name: str) -> ModuleType:
    """Import the module of a stage, whose function `run` takes parameters, artifacts and runtime."""
    return importlib.import_module(f"wildseg.stages.{name}{'.stage' if name in FOLDERS else ''}")


def _stage(name: str) -> Callable[[], None]:
    def command() -> None:
        from wildseg.artifacts.project import Artifacts
        from wildseg.core.progress import note
        from wildseg.execution import launcher, params, recorded_inputs
        from wildseg.execution.project_lock import writing
        from wildseg.execution.runtime import Runtime
        from wildseg.stages import preflight

        artifacts = Artifacts()
        # Entered before anything is read, so that a later change of any input is detected.
        with recorded_inputs.unchanged(artifacts.root):
            remarks: list[str] = []
            values, runtime = params.load(remark=remarks.append), Runtime.from_environment()
            if not launcher.follows():
                note(name, remarks)
            with writing(artifacts.root, name) as lock:
                if name in preflight.STAGES:
                    preflight.run(values, artifacts.root, name)
                if name == "train":
                    launcher.again(name, lock.pass_on)
                stage = load(name)
                last = (recorded_inputs.check,) if name == "train" else ()
                stage.run(values, artifacts, runtime, *last)

    return command


for _name, _help in STAGES.items():
    group.command(_name, help=_help)(_stage(_name))

group.command(
    "weak",
    help="Make boxes, points and scribbles of the maps. 'dvc repro data/weak/dvc.yaml' runs it; the pipeline does not.",
    short_help="Make boxes, points and scribbles of the maps.",
)(_stage("weak"))
