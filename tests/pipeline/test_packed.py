"""The pipeline on packed frames, with real runs of DVC: the same model from fewer files, which travel like others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project, stages_run

pytestmark = pytest.mark.slow

PACKED = ("data/frames", "data/cams", "data/masks")


def test_packed_frames_lead_to_the_same_model_and_travel(project: Project, tmp_path: Path) -> None:
    loose = project.digests()
    project.change("extract", shard_above=3)
    assert stages_run(project.dvc("repro")) == ["extract", "label", "cam", "crf", "train", "eval"]
    packed = project.digests()
    assert {name for name in packed if packed[name] != loose[name]} == set(PACKED)
    for folder in (*PACKED, "data/masks/confidence"):
        assert {path.suffix for path in (project.folder / folder).iterdir() if path.is_file()} <= {".zip", ".csv"}

    project.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    project.dvc("push")
    shutil.rmtree(project.folder / ".dvc" / "cache")
    for output in PACKED:
        shutil.rmtree(project.folder / output)
    project.dvc("pull")
    assert stages_run(project.dvc("repro")) == []
    frame = (project.folder / "data/frames/frames.csv").read_text().splitlines()[1].split(",")[0]
    project.run("wildseg", "unpack", frame, "--into", "look", PYTHONPATH="src")
    assert len([path for path in (project.folder / "look").rglob("*") if path.is_file()]) == 4
