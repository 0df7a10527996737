"""A small project in a temporary folder: the real pipeline on a few frames, with a training of a few steps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

# What makes it small. Everything else is the default.
SMALL = {
    "extract": {"source": "data/raw/mini", "held_out": [], "duplicate_bits": None, "fps": 5.0, "stretch_s": None},
    "train": {
        "steps": 4,
        "batch_size": 2,
        "crop": 64,
        "validate_every": 2,
        "checkpoint_every": 2,
        "options": {"unet": {"encoder_depth": 3, "decoder_channels": [16, 16, 16]}, "deeplabv3plus": {}},
    },
    "label": {"options": {"clip": {"tiles": 1, "activation": "auto", "resize": "squash"}}},
    "eval": {"pictures": 1},
}


class Project:
    """A clone that DVC runs in; `run` returns what was printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self) -> dict[str, str]:
        """Return the environment of a person who has no GPU, and uses one core."""
        programs = Path(sys.executable).parent
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_TEST": "1",
            "WILDSEG_DEVICE": "cpu",
            "WILDSEG_WORKERS": "1",  # for a few frames, a second process costs more than it gives
            "OMP_NUM_THREADS": "1",  # training sums in another order on another number of threads
        }
        for leftover in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "PYTHONPATH", "WILDSEG_CACHE"):
            environment.pop(leftover, None)
        return environment

    def run(self, *command: str, expect: int = 0, timeout: float = 600, **environment: str) -> str:
        """Run a program of this interpreter's environment; show its output if it exits otherwise than expected."""
        environment = {**self.environment(), **environment}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        text = done.stdout + done.stderr
        assert done.returncode == expect, f"{' '.join(command)} exited with {done.returncode}:\n{text}"
        return text

    def dvc(self, *arguments: str, **environment: str) -> str:
        """Run dvc."""
        return self.run("dvc", *arguments, **environment)

    def change(self, section: str, **values: object) -> None:
        """Change values in a section of params.yaml."""
        params = self.params()
        params[section] |= values
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def digests(self) -> dict[str, str]:
        """Return the digest of everything that the stages left, as dvc.lock has it."""
        stages = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]
        return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}

    def params(self) -> dict:
        """Read params.yaml."""
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def commit(self, message: str) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)


def stages_run(output: str) -> list[str]:
    """Return the stages that DVC says it ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def served(output: str) -> dict[str, tuple[int, int]]:
    """Read from what the stages printed how many frames each served, and how many of them from the cache."""
    found = {}
    for line in output.splitlines():
        if match := re.match(r"(label|cam|crf): (\d+) frames, .*?(?:, (\d+) from the cache)?$", line):
            found[match[1]] = int(match[2]), int(match[3] or 0)
    return found


def merge(base: dict, change: dict) -> dict:
    """Return `base` with the nested values of `change`."""
    return {
        **base,
        **{
            key: merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
            for key, value in change.items()
        },
    }


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which `dvc repro` has run once; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("pipeline") / "project"
    copy_tracked(folder)
    render_mini_drive(folder / "data" / "raw" / "mini")
    params = merge(yaml.safe_load((ROOT / "params.yaml").read_text()), SMALL)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project = Project(folder)
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.run("git", "config", "user.name", "A Tester")
    project.run("git", "config", "user.email", "tester@example.org")
    project.run("dvc", "add", "--quiet", "data/raw/mini")
    project.commit("A small project")
    project.dvc("repro")
    project.commit("Its first results")
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project to change at will."""
    folder = tmp_path / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Project(folder)


def copy_tracked(folder: Path) -> None:
    """Copy what git would take from this checkout: tracked and new files, not the ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file() and not name.startswith(("metrics/", "dvc.lock")):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def render_mini_drive(folder: Path) -> None:
    """Render a few frames of one world, with their truth."""
    from wildseg_demo.world.drive import write_drive
    from wildseg_demo.world.itinerary import DRIVES

    legs = tuple(replace(leg, frames=5, metres_per_frame=3.0) for leg in DRIVES["drive"][:2])
    write_drive("mini", legs, folder, folder / "truth", workers=1)
