"""The default pipeline in a temporary folder: its own inputs and settings, and outputs that disturb nobody."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wildseg.artifacts.project import Artifacts
from wildseg.cli import stages
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime

ROOT = Path(__file__).parents[1]
INPUTS = ("params.yaml", "data/raw", "data/truth", "models/tiny_clip")  # linked, never written to


@dataclass(frozen=True)
class Project:
    """Parameters and files of a pipeline whose stages can be run one by one."""

    params: Params
    artifacts: Artifacts

    def run(self, stage: str, settings: Params | None = None, workers: int | None = None) -> None:
        """Run a stage as its command does, without a word; it starts from scratch."""
        shutil.rmtree(self.artifacts.root / ".wildseg", ignore_errors=True)
        runtime = Runtime(workers or Runtime.from_environment().workers, "cpu")
        with (
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            stages.load(stage).run(settings or self.params, self.artifacts, runtime)

    def thin(self, count: int) -> None:
        """Keep about `count` key frames, evenly spread over all sources and splits."""
        frames = self.artifacts.load_frames()
        self.artifacts.save_frames(frames[:: max(1, len(frames) // count)])

    def set(self, values: Mapping[str, object]) -> None:
        """Change values of params.yaml by their dotted keys, for stages that run as commands."""
        path = self.artifacts.root / "params.yaml"
        content = yaml.safe_load(path.read_text())
        change(content, values)
        path.unlink()  # so far a link to the default's
        path.write_text(yaml.safe_dump(content, sort_keys=False))


def change(content: dict[str, Any], values: Mapping[str, object]) -> None:
    """Change values in the content of a params.yaml by their dotted keys."""
    for key, value in values.items():
        *sections, last = key.split(".")
        section = content
        for name in sections:
            section = section[name]
        section[last] = value


def link(folder: Path, paths: Iterable[str]) -> None:
    """Link files and folders of the project into another one, which reads them in place."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(ROOT / path)


@contextlib.contextmanager
def default_project() -> Iterator[Project]:
    """Give the default pipeline in a folder that is removed afterwards."""
    if not (ROOT / "data" / "raw" / "field").is_dir():
        raise SystemExit("benchmarks: expected the demo drives under data/raw/field; run 'dvc repro data/raw/dvc.yaml'")
    os.environ["WILDSEG_TRACKING"] = "off"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        link(folder, INPUTS)
        yield Project(params.load(folder / "params.yaml"), Artifacts(folder))


def environment() -> dict[str, str]:
    """Return the environment of a program that runs this checkout's code and calls nobody."""
    own = {"PYTHONPATH": str(ROOT / "src"), "DVC_NO_ANALYTICS": "1", "WILDSEG_TRACKING": "off", "WILDSEG_DEVICE": "cpu"}
    return {**os.environ, **own}
