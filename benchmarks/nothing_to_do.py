"""`dvc repro` with nothing to do: the real pipeline with its files, against six shell stages with a file each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml

from benchmarks.project import ROOT, environment
from benchmarks.timing import Result, compare

FRAMES = 90  # files in each folder of frames, maps, masks and confidence: what the default leaves
FRAME_BYTES = 30_000


def measure() -> Iterator[Result]:
    """Yield the time of `dvc repro` when everything is up to date."""
    with tempfile.TemporaryDirectory() as name:
        ours, peer = Path(name) / "ours", Path(name) / "peer"
        _pipeline_with_outputs(ours)
        _six_shell_stages(peer)
        yield compare(
            "`dvc repro`, nothing to do",
            partial(_repro, ours),
            partial(_repro, peer),
            "`dvc repro` of six shell stages, nothing to do",
            runs=5,
        )


def _pipeline_with_outputs(folder: Path) -> None:
    """Put the real pipeline into a repository of its own, with outputs that DVC takes for its last results."""
    folder.mkdir()
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("src", "data/raw", "data/corrected", "data/memory", "data/truth", "models/tiny_clip"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "field", ".gitignore"))
    shutil.copytree(ROOT / "data" / "labels", folder / "data" / "labels")
    stages = {}
    for path in (folder / "dvc.yaml", *folder.glob("*/*/dvc.yaml")):
        stages |= yaml.safe_load(path.read_text())["stages"]
    for stage in stages.values():
        for entry in (*stage.get("outs", ()), *stage.get("metrics", ()), *stage.get("plots", ())):
            _invent(folder, entry if isinstance(entry, str) else next(iter(entry)))
    _new_repository(folder)
    _dvc(folder, "commit", "--force", "--quiet")


def _invent(folder: Path, output: str) -> None:
    path = folder / output
    if path.suffix and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if path.suffix == ".json" else "step\n0\n")
    elif not path.suffix:
        path.mkdir(parents=True, exist_ok=True)
        for number in range(FRAMES * (2 if output == "data/masks" else 1)):
            (path / f"{number:06d}.bin").write_bytes(os.urandom(FRAME_BYTES))


def _six_shell_stages(folder: Path) -> None:
    folder.mkdir()
    (folder / "0.txt").write_text("0\n")
    stages = {
        f"stage{number}": {"cmd": f"cp {number}.txt {number + 1}.txt", "deps": [f"{number}.txt"],
                           "outs": [f"{number + 1}.txt"]}
        for number in range(6)
    }  # fmt: skip
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    _new_repository(folder)
    _dvc(folder, "repro", "--quiet")


def _new_repository(folder: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    _dvc(folder, "init", "--quiet")
    _dvc(folder, "config", "core.analytics", "false")
    _dvc(folder, "config", "core.check_update", "false")


def _repro(folder: Path) -> None:
    output = _dvc(folder, "repro")
    if "Data and pipelines are up to date." not in output:
        raise SystemExit(f"expected nothing to do, but dvc repro printed:\n{output}")


def _dvc(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"dvc {' '.join(arguments)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
