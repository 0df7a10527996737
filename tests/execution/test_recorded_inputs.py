"""An input that changes while DVC runs a stage: noticed at its end, by whatever way it changed."""

from __future__ import annotations

import compileall
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wildseg.core.errors import WildsegError
from wildseg.execution import recorded_inputs
from wildseg.execution.parents import STAGE

PIPELINE = """
stages:
  cam:
    cmd: wildseg cam
    deps: [data/frames, "${cam.boxes}", "src/${cam.method}.py", data/labels.csv, src/room]
    params: [classes, cam]
"""
PARAMS = "classes: {lawn: [lawn]}\ncam: {method: gradcam, boxes: data/boxes.json}\ntrain: {steps: 3}\n"
FILES = (
    "data/frames/a.jpg",
    "data/frames/deep/b.jpg",
    "data/boxes.json",
    "data/labels.csv",
    "src/gradcam.py",
    "src/x.py",
    "src/room/code.py",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(STAGE, "cam")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text(PARAMS)
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    return tmp_path


def params(old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / "params.yaml").write_text(PARAMS.replace(old, new))


def longer(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text("before and after")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (params("[lawn]", "[meadow]"), "classes in params.yaml"),
        (params("gradcam", "x"), "cam in params.yaml and 2 more"),  # and which file of a method is read
        (longer("data/frames/a.jpg"), "data/frames/a.jpg"),
        (longer("data/boxes.json"), "data/boxes.json"),
        (longer("src/gradcam.py"), "src/gradcam.py"),
        (longer("src/room/code.py"), "src/room/code.py"),
        (lambda root: (root / "src/room/more.py").write_text("new"), "src/room/more.py"),
        (lambda root: (root / "data/frames/a.jpg~").write_text("new"), "data/frames/a.jpg~"),
        (lambda root: (root / "data/labels.csv").unlink(), "data/labels.csv"),
        (lambda root: (root / "data/frames/deep/c.jpg").write_text("new"), "data/frames/deep/c.jpg"),
        (lambda root: os.replace(root / "src/x.py", root / "data/frames/a.jpg"), "data/frames/a.jpg"),  # noqa: PTH105
    ],
)
def test_what_dvc_would_record_may_not_change(change: Callable[[Path], object], named: str, project: Path) -> None:
    line = f"^cam: {named} changed while the stage was running, so its result is not recorded; run the same again$"
    with pytest.raises(WildsegError, match=line), recorded_inputs.unchanged(project):
        change(project)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        params("steps: 3", "steps: 4"),  # of another stage
        params("lawn: [lawn]", "lawn: ['lawn']"),  # the same, written otherwise
        longer("src/x.py"),
        lambda root: (root / "src/gradcam.py").write_text("before"),  # saved again by an editor
        lambda root: (root / "data/frames/.a.jpg.part").write_text("hidden"),
        lambda root: compileall.compile_dir(root / "src/room", quiet=1),
        lambda root: (root / "src/room/code.py~").write_text("of an editor"),
        lambda root: (root / "src/room/#code.py#").write_text("of another"),
    ],
)
def test_what_dvc_would_not_record_may_change(change: Callable[[Path], object], project: Path) -> None:
    with recorded_inputs.unchanged(project):
        change(project)


def test_data_may_be_called_anything_also_where_the_project_lies_below_a_folder_of_code(project: Path) -> None:
    below = project / "src" / "mine"
    below.mkdir()
    for name in ("dvc.yaml", "params.yaml", "data"):
        (project / name).rename(below / name)
    line = "^cam: data/frames/a.jpg~ changed while the stage was running"
    with pytest.raises(WildsegError, match=line), recorded_inputs.unchanged(below):
        (below / "data/frames/a.jpg~").write_text("new")


def test_by_hand_nothing_is_recorded_and_nothing_looked_at(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STAGE)
    with recorded_inputs.unchanged(project):
        longer("data/boxes.json")(project)


def test_a_training_is_told_before_it_lets_go_of_its_checkpoint(project: Path) -> None:
    def train() -> None:
        with recorded_inputs.unchanged(project):
            recorded_inputs.check()
            longer("data/boxes.json")(project)
            recorded_inputs.check()
            pytest.fail("it went on")

    with pytest.raises(WildsegError, match="boxes"):
        train()
    recorded_inputs.check()  # nothing is remembered of a stage that has ended


def test_an_error_of_the_stage_comes_first(project: Path) -> None:
    def fail() -> None:
        with recorded_inputs.unchanged(project):
            longer("data/boxes.json")(project)
            raise KeyError

    with pytest.raises(KeyError):
        fail()


@pytest.mark.parametrize("text", ["", "stages: {crf: {cmd: x}}", "stages: {cam: {deps: ['${no.such}']}}", "{", "- 1"])
def test_a_pipeline_that_says_nothing_of_the_stage_is_no_matter_here(text: str, project: Path) -> None:
    (project / "dvc.yaml").write_text(text)
    assert recorded_inputs.inputs(project / "dvc.yaml", "cam") == {}


def test_a_stage_of_another_folder_is_found_by_its_address(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "data/weak").mkdir()
    text = PIPELINE.replace("cmd:", "wdir: ../..\n    cmd:")
    (project / "data/weak/dvc.yaml").write_text(text)
    monkeypatch.setenv(STAGE, "data/weak/dvc.yaml:cam")
    with pytest.raises(WildsegError, match="boxes"), recorded_inputs.unchanged(project):
        longer("data/boxes.json")(project)


def test_all_inputs_of_the_real_pipeline_are_looked_at() -> None:
    root = Path(__file__).parents[2]
    found = recorded_inputs.inputs(root / "dvc.yaml", "cam")
    assert {
        "cam in params.yaml",
        "clip in params.yaml",
        "src/wildseg/cam/engine.py",
        "src/wildseg/methods/cam/gradcam.py",
    } <= {*found}
