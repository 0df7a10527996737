"""A full disk, a folder that cannot be written to, an input that vanishes: one clear line, and nothing is lost.

The disks are small real ones (tmpfs) in a mount namespace of their own, for which Linux asks no rights.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.pipeline.conftest import Project, served, stages_run

pytestmark = pytest.mark.slow

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec")


def can_mount() -> bool:
    try:
        return (
            subprocess.run((*NAMESPACE, "mount -t tmpfs tmpfs /mnt"), capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        return False


needs_mounts = pytest.mark.skipif(not can_mount(), reason="this system lets nobody mount in a namespace of their own")


def forget_stage(project: Project, stage: str) -> None:
    """Let a stage be computed anew, by DVC as well as by the frames' cache."""
    shutil.rmtree(project.folder / ".wildseg" / "cache" / stage)
    shutil.rmtree(project.folder / ".dvc" / "cache" / "runs")


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


@needs_mounts
def test_a_full_disk_is_told_in_a_line_and_costs_only_the_frame_it_met(project: Project) -> None:
    undisturbed = project.digests()
    forget_stage(project, "crf")  # which needs no PyTorch: it begins in a second
    full = "mount -t tmpfs -o size=32k tmpfs data/masks; PYTHONPATH=src exec wildseg crf"
    output = project.run(*NAMESPACE, full, expect=1)
    assert re.match(r"wildseg: error: data/masks/(confidence/)?mini_", last_line(output))
    assert last_line(output).endswith("No space left on device; make room, then run the same again")
    computed = len(list((project.folder / ".wildseg/cache/crf").glob("??/*")))
    frames, known = served(project.dvc("repro", "--force", "--single-item", "crf"))["crf"]
    assert 0 < known == computed < frames
    assert project.digests() == undisturbed


@needs_mounts
def test_a_project_whose_disk_is_full_goes_on_once_there_is_room(project: Project, tmp_path: Path) -> None:
    undisturbed = project.digests()
    forget_stage(project, "crf")
    lock = project.folder / "dvc.lock"
    content = yaml.safe_load(lock.read_text())
    del content["stages"]["crf"]
    lock.write_text(yaml.safe_dump(content))
    disk = tmp_path / "disk"
    disk.mkdir()
    # There is room for the masks, which are written anew, and not for what is kept of them beside.
    script = f"""
        mount -t tmpfs tmpfs {disk}
        cp -a {project.folder}/. {disk}
        cd {disk}
        mount -o remount,size=$(($(df --output=used --block-size=1024 . | tail -1) + 16))k {disk}
        ! dvc repro
        mount -o remount,size=2g {disk}
        wildseg repair
        dvc repro
        cp dvc.lock {project.folder}
    """
    output = project.run(*NAMESPACE, script)
    assert "No space left on device" in output
    assert set(stages_run(output)) == {"crf"}  # its result is the same, and what follows is known
    assert project.digests() == undisturbed


@needs_mounts
@pytest.mark.parametrize(("stage", "folder"), [("label", "data/labels"), ("crf", "data/masks"), ("eval", "metrics")])
def test_an_output_that_cannot_be_written_to_is_told_in_a_line(project: Project, stage: str, folder: str) -> None:
    read_only = (
        f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}; PYTHONPATH=src exec wildseg {stage}"
    )
    output = project.run(*NAMESPACE, read_only, expect=1)
    assert "Traceback" not in output
    assert last_line(output).startswith(f"wildseg: error: {folder}")
    assert last_line(output).endswith("Read-only file system")


def test_an_input_that_vanishes_during_the_run_is_named_and_what_was_computed_is_kept(project: Project) -> None:
    undisturbed = project.digests()
    forget_stage(project, "crf")
    last = sorted((project.folder / "data/cams").glob("*.npz"))[-1]
    process = subprocess.Popen(
        ["wildseg", "crf"], cwd=project.folder, env=project.environment() | {"PYTHONPATH": "src"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    cache = project.folder / ".wildseg/cache/crf"
    while not list(cache.glob("??/*")) and process.poll() is None:
        time.sleep(0.005)
    last.unlink()
    _, errors = process.communicate()
    assert process.returncode == 1
    assert last_line(errors).startswith(f"wildseg: error: {last.relative_to(project.folder)}: ")
    assert last_line(errors).endswith("run 'dvc repro cam'")
    computed = len(list(cache.glob("??/*")))
    project.dvc("repro", "cam")
    frames, known = served(project.dvc("repro", "--force", "--single-item", "crf"))["crf"]
    assert 0 < known == computed < frames
    assert project.digests() == undisturbed
