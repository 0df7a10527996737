"""Kill it anywhere: a run that was killed at random moments ends with the bytes of one that was not.

A few kills here; `make torture` makes hundreds.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("WILDSEG_KILLS", "2"))
SEED = int(os.environ.get("WILDSEG_KILLS_SEED", "0"))


def repro_killed_after(project: Project, seconds: float) -> bool:
    """Start `dvc repro` and kill its whole process group; say whether it was still running."""
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=project.folder,
        env={**project.environment(), "WILDSEG_WORKERS": "2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def leftovers(project: Project) -> list[Path]:
    """Files under temporary names among what the stages leave."""
    folders = ("data/frames", "data/labels", "data/cams", "data/masks", "metrics", "models/segmenter")
    found = [path for folder in folders for path in (project.folder / folder).rglob(".*")]
    return [path for path in found if path.name != ".gitignore"]


def test_a_run_killed_at_random_moments_ends_like_one_that_was_not(project: Project, tmp_path: Path) -> None:
    project.change("extract", fps=4.0)  # every stage runs; label, cam and crf find most frames in the cache
    untouched = Project(tmp_path / "untouched")
    shutil.copytree(project.folder, untouched.folder, symlinks=True)
    start = time.monotonic()
    untouched.dvc("repro")
    whole = time.monotonic() - start

    moments = random.Random(SEED)
    kills = 0
    while kills < KILLS:
        if repro_killed_after(project, moments.uniform(0.1, whole)):
            kills += 1
        else:  # it came to the end: once more from the start, without what is known
            assert project.digests() == untouched.digests()
            shutil.rmtree(project.folder / ".wildseg")
            shutil.rmtree(project.folder / ".dvc" / "cache" / "runs", ignore_errors=True)
            (project.folder / "dvc.lock").unlink()
    project.dvc("repro")
    assert project.digests() == untouched.digests()
    assert leftovers(project) == []
