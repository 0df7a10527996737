"""Weak labels beside the pipeline: made when they are asked for, and otherwise not there."""

from __future__ import annotations

import json

import pytest

from tests.pipeline.conftest import Project, stages_run
from wildseg.artifacts.project import Artifacts

pytestmark = pytest.mark.slow


def test_they_are_made_only_when_they_are_asked_for(project: Project) -> None:
    artifacts = Artifacts(project.folder)
    assert not artifacts.boxes_json.exists()
    assert not artifacts.weak_folder("scribbles").exists()
    project.change("weak", points=3)
    assert stages_run(project.dvc("repro")) == []  # nothing of the pipeline reads the section

    project.change("train", supervision="scribbles")
    assert stages_run(project.dvc("repro")) == ["data/weak/dvc.yaml:weak", "train", "eval"]
    assert len(artifacts.load_boxes(list(project.params()["classes"]))) == len(artifacts.load_frames())
    report = json.loads((project.folder / "metrics" / "train.json").read_text())
    assert report["frames_train"] > 0
    assert project.run("git", "status", "--porcelain", "--", "data/scribbles", "data/points", "data/boxes.json") == ""

    boxes = json.loads(artifacts.boxes_json.read_text())
    artifacts.limits_json.write_text(json.dumps(boxes))
    printed = project.dvc("repro")
    assert stages_run(printed) == ["cam", "crf", "data/weak/dvc.yaml:weak", "train", "eval"]
    assert f"{len(artifacts.load_frames())} frames inside of boxes" in printed
