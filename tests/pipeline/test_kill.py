"""Kill it anywhere: a run that was killed in any stage goes on, loses next to nothing, and ends with the same bytes.

Every stage is killed once here; `make torture` makes hundreds of kills.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from itertools import cycle
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project, served
from wildseg.cli import STAGES

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("WILDSEG_KILLS", len(STAGES)))
SEED = int(os.environ.get("WILDSEG_KILLS_SEED", "0"))
LATEST = 3.0  # seconds after a stage began; the longest here take some three times that
WORKERS = {"WILDSEG_WORKERS": "2"}


def repro_killed_in(project: Project, stage: str, delay: float, log: Path) -> bool:
    """Start `dvc repro` and kill its whole process group `delay` seconds after `stage` began.

    Returns:
        Whether it was killed; False if it came to its end before.
    """
    with log.open("w") as stream:
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=project.folder, env=project.environment() | WORKERS, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
    while f"Running stage '{stage}'" not in log.read_text() and process.poll() is None:
        time.sleep(0.02)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    if process.returncode:  # the kill before tore one of the two files that DVC does not rename into place
        assert "torn" in project.run("wildseg", "repair"), log.read_text()
        return repro_killed_in(project, stage, delay, log)
    return False


def forget(project: Project) -> None:
    """Bring a project to the state of a fresh clone: nothing is computed, and nothing is known."""
    shutil.rmtree(project.folder / ".wildseg", ignore_errors=True)
    shutil.rmtree(project.folder / ".dvc" / "cache" / "runs", ignore_errors=True)
    (project.folder / "dvc.lock").unlink()


def kept(project: Project) -> Counter[str]:
    """Count the frames that each stage's cache holds."""
    cache = project.folder / ".wildseg" / "cache"
    return Counter({stage: len(list((cache / stage).glob("??/[0-9a-f]*"))) for stage in ("label", "cam", "crf")})


def leftovers(project: Project) -> list[Path]:
    """Files under temporary names among what the stages leave."""
    folders = ("data/frames", "data/labels", "data/cams", "data/masks", "metrics", "models/segmenter")
    found = [path for folder in folders for path in (project.folder / folder).rglob(".*")]
    return [path for path in found if path.name != ".gitignore"]


def test_a_run_killed_in_every_stage_ends_like_one_that_was_not(project: Project, tmp_path: Path) -> None:
    undisturbed, log = project.digests(), tmp_path / "log"
    forget(project)
    moments, stages = random.Random(SEED), cycle(STAGES)
    for _ in range(KILLS):
        stage, delay = next(stages), moments.uniform(0.0, LATEST)
        while not repro_killed_in(project, stage, delay, log):  # it came to its end before that stage, or in it
            assert project.digests() == undisturbed
            forget(project)
    known = kept(project)
    project.run("wildseg", "repair")
    output = project.dvc("repro", **WORKERS)
    assert project.digests() == undisturbed
    assert leftovers(project) == []
    for stage, (frames, from_cache) in served(output).items():  # of the stages that were still to do
        assert from_cache == min(known[stage], frames)


def test_what_a_killed_stage_has_computed_is_not_computed_again(project: Project, tmp_path: Path) -> None:
    undisturbed, log = project.digests(), tmp_path / "log"
    forget(project)
    project.dvc("repro", "label", **WORKERS)
    process = subprocess.Popen(
        ["dvc", "repro", "cam"],
        cwd=project.folder, env=project.environment() | WORKERS, stdout=log.open("w"), stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    while not kept(project)["cam"] and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    project.run("wildseg", "repair")
    known = kept(project)["cam"]
    frames, from_cache = served(project.dvc("repro", "cam", **WORKERS))["cam"]
    assert 0 < known == from_cache < frames
    assert project.digests().items() <= undisturbed.items()
