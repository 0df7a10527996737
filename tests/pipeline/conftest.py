"""A small project in a temporary folder: the real pipeline on a few frames, with a training of a few steps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.shared import made_once

ROOT = Path(__file__).parents[2]

# What makes it small. Everything else is the default: any other network would be checked before the first stage, by a
# process that imports PyTorch.
SMALL = {
    "extract": {"source": "data/raw/mini", "held_out": [], "duplicate_bits": None, "fps": 5.0, "stretch_s": None},
    "train": {
        "steps": 4,
        "batch_size": 2,
        "crop": 64,
        "validate_every": 2,
        "checkpoint_every": 2,
    },
    "label": {"options": {"clip": {"tiles": 1, "activation": "auto", "resize": "squash"}}},
    "cam": {"scales": [1.0]},
    "eval": {"pictures": 1},
}

# Results of this checkout, and what no stage reads.
NOT_IN_A_PROJECT = ("metrics/", "dvc.lock", "tests/", "docs/", "benchmarks/")


class Project:
    """A clone that DVC runs in; `run` returns what was printed.

    With `forks`, the folder of tests.forks, `dvc`, `wildseg` and the stages that DVC starts are forks of one process.
    """

    def __init__(self, folder: Path, forks: Path | None = None) -> None:
        self.folder = folder
        self.forks = forks

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
            "WILDSEG_TRACKING": "off",  # or train and eval take longer; "on" where a test is about runs
            "OMP_NUM_THREADS": "1",  # training sums in another order on another number of threads
        }
        for leftover in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "PYTHONPATH", "WILDSEG_CACHE"):
            environment.pop(leftover, None)
        return environment

    def forked(self) -> dict[str, str]:
        """Return the variables by which `dvc` and `wildseg` are forks; none where a system has no such."""
        return {"PATH": f"{self.forks}{os.pathsep}{self.environment()['PATH']}"} if self.forks else {}

    def run(self, *command: str, expect: int = 0, timeout: float = 600, **environment: str) -> str:
        """Run a program of this interpreter's environment; show its output if it exits otherwise than expected."""
        forked = self.forked() if command[0] in ("dvc", "wildseg") else {}
        environment = {**self.environment(), **forked, **environment}
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

    def copy(self, folder: Path) -> Project:
        """Copy all of it."""
        shutil.copytree(self.folder, folder, symlinks=True, copy_function=copy_or_link)
        return Project(folder, self.forks)

    def take_under_control(self, data: str, message: str) -> None:
        """Give a new project to git, and its data to DVC."""
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.run("git", "config", "user.name", "A Tester")
        self.run("git", "config", "user.email", "tester@example.org")
        self.run("dvc", "add", "--quiet", data)
        self.commit(message)

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
def finished(tmp_path_factory: pytest.TempPathFactory, forks: Path | None) -> Project:
    """The project in which `dvc repro` has run once, for all tests of a run: to be read and cloned, never changed.

    A test takes `finished` itself for what it only reads: params, digests, outputs, ``git clone`` of it. To change a
    value, start a stage or run any ``dvc`` command, it takes `project`, a copy in milliseconds in which all six stages
    are up to date, committed, and in DVC's run cache and the result store: a test of one stage changes what that stage
    depends on and says ``dvc repro STAGE``, instead of running those before it again. A fixture of a module copies by
    ``finished.copy(folder)``. MLflow is off in both but where ``WILDSEG_TRACKING="on"`` is given to a command.
    """
    return Project(made_once(tmp_path_factory, "pipeline", partial(run_once, forks=forks)) / "project", forks)


def run_once(folder: Path, forks: Path | None) -> None:
    """Make the project and run it."""
    project = small_project(folder / "project", forks)
    project.dvc("repro", WILDSEG_TRACKING="on")
    project.commit("Its first results")


def small_project(folder: Path, forks: Path | None = None) -> Project:
    """Make a project in which nothing has run: this checkout's code, a few rendered frames, few training steps."""
    copy_tracked(folder)
    render_mini_drive(folder / "data" / "raw" / "mini")
    params = merge(yaml.safe_load((ROOT / "params.yaml").read_text()), SMALL)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project = Project(folder, forks)
    project.take_under_control("data/raw/mini", "A small project")
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project to change at will."""
    return finished.copy(tmp_path / "project")


def copy_or_link(source: str, target: str) -> None:
    """Copy a file; one that git or DVC keeps under its digest, and so never changes, gets a second name."""
    if "/.dvc/cache/files/" in source or "/.git/objects/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def copy_tracked(folder: Path) -> None:
    """Copy what git would take from this checkout and a stage may read: tracked and new files, not the ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file() and not name.startswith(NOT_IN_A_PROJECT):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def render_mini_drive(folder: Path) -> None:
    """Render a few frames of one world, with their truth."""
    from wildseg_demo.world.drive import write_drive
    from wildseg_demo.world.itinerary import DRIVES

    legs = tuple(replace(leg, frames=5, metres_per_frame=3.0) for leg in DRIVES["drive"][:2])
    write_drive("mini", legs, folder, folder / "truth", workers=1)
