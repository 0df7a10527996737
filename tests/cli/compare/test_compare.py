"""Methods compared on a folder of a few frames: quality as eval measures it, and a sweep that survives a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tests.encoders.models import noise, save
from tests.programs import SOURCE
from tests.shared import shipped_content
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.prompts import PromptSet
from wildseg.cli.compare.measure import measure
from wildseg.cli.compare.run import choose, key_of_conditions, row_key
from wildseg.cli.main import main
from wildseg.core.errors import DataError, ModelError
from wildseg.core.files import load_json
from wildseg.core.images import save_label_image
from wildseg.core.tables import load_table
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.metrics.confusion import Confusion, mean_recall, miou
from wildseg.report.method_table import COLUMNS
from wildseg.stages import memory
from wildseg.stages.cam import stage as cam
from wildseg.stages.eval.stage import masks_by_group

ROOT = Path(__file__).parents[3]
NAMES = ("sky", "tree", "cement_road")
FRAMES = [Frame(f"drive_{i:06d}", "drive", i, i / 5, "train") for i in range(6)]
PRESENT = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1], [0, 1, 1], [1, 1, 0]], bool)
TRUE = [FRAMES[index] for index in (0, 1, 2, 3, 5)]  # the fifth has no truth


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    artifacts = Artifacts(tmp_path)
    rng = np.random.default_rng(0)
    for frame in FRAMES:
        artifacts.save_image(frame.name, noise((48, 64), frame.index))
        artifacts.save_mask(frame.name, np.zeros((48, 64), np.uint8))
        if frame in TRUE:
            truth = rng.integers(1, 4, (6, 8), np.uint8).repeat(8, 0).repeat(8, 1)
            save_label_image(tmp_path / "data" / "truth" / f"{frame.name}.png", truth)
    artifacts.save_frames(FRAMES)
    artifacts.save_labels([frame.name for frame in FRAMES], NAMES, PRESENT)
    artifacts.save_prompts(PromptSet(("a photo of {}.",), ()))
    return artifacts


@pytest.fixture
def values(project: Artifacts) -> Params:
    """The shipped params.yaml with three classes and a random model, also as the project's own."""
    name, weights = save(project.root, "tiny")
    content = shipped_content()
    content["classes"] = {"sky": ["sky", "clouds"], "tree": ["tree"], "cement_road": ["cement road"]}
    content["clip"] |= {"model": name, "pretrained": Path(weights).name}
    (project.root / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return params.load(project.root / "params.yaml")


def test_frames_have_a_truth_and_a_label_and_are_evenly_spread(project: Artifacts, values: Params) -> None:
    assert [frame.index for frame in choose(values, project, 100)] == [0, 2, 3, 5]
    assert [frame.index for frame in choose(values, project, 2)] == [2, 5]
    for path in (project.root / "data" / "truth").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="with a label and a truth, found none among 6"):
        choose(values, project, 2)


def of_labelled_frames(values: Params, project: Artifacts) -> np.ndarray:
    """Return eval's confusion matrix of the maps that cam wrote; that of the frame without a label is taken out."""
    both = Confusion(len(NAMES) + 1)
    for group in masks_by_group(values, project):
        both.merge(group.levels.cam)
    unlabelled = project.load_truth(TRUE[1], NAMES, (48, 64))
    assert unlabelled is not None
    nothing = Confusion(len(NAMES) + 1)
    nothing.add(unlabelled, np.full((48, 64), 0 if values.background else 255, np.uint8))
    return both.matrix - nothing.matrix


@pytest.mark.parametrize("background", [(), ("wall", "sea")])
def test_miou_is_what_eval_finds_in_the_maps_that_the_stage_writes(
    background: tuple[str, ...], project: Artifacts, values: Params
) -> None:
    values = replace(values, background=background, cam=replace(values.cam, method="hirescam", refine="caa"))
    project.save_prompts(PromptSet(values.clip.templates, background))
    cam.run(values, project, Runtime(1, "cpu"))
    expected = of_labelled_frames(values, project)
    row = measure(values, project, choose(values, project, 100), "cpu")
    assert (row.method, row.refine, row.frames, row.note) == ("hirescam", "caa", 4, "")
    assert (row.miou, row.recall) == (miou(expected), mean_recall(expected))
    assert 0 < row.seconds < 60
    assert row.forwards > 0
    assert row.memory_mib >= 0
    assert row.forward_mib >= 0


def test_maps_are_kept_inside_of_tiles_and_boxes_as_by_the_stage(project: Artifacts, values: Params) -> None:
    values = replace(values, cam=replace(values.cam, scales=(1.0,), refine="none"))
    names, chosen = [frame.name for frame in FRAMES], choose(values, project, 100)
    found, keys = [], []
    quarters = np.zeros((len(FRAMES), 2, 2, len(NAMES)), bool)
    quarters[:, 0, 0] = PRESENT
    quarters[3, 1, 1] = True
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 30, 20]}
    coco = {
        "images": [{"id": 1, "file_name": f"{FRAMES[3].name}.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "tree"}],
        "annotations": [box],
    }
    for change in (
        lambda: None,
        lambda: (project.root / values.cam.boxes).write_text(json.dumps(coco), encoding="utf-8"),
        lambda: project.save_labels(names, NAMES, PRESENT, quarters),
    ):
        change()
        cam.run(values, project, Runtime(1, "cpu"))
        found.append(measure(values, project, chosen, "cpu").miou)
        keys.append(key_of_conditions(values, project, Runtime(1, "cpu"), chosen))
        assert found[-1] == miou(of_labelled_frames(values, project))
    assert len({*found}) == len({*keys}) == 3


def test_a_bank_of_regions_is_read_as_by_the_stage(project: Artifacts, values: Params) -> None:
    options = {**values.cam.options, "memory": {"gap_s": 0.3}}
    values = replace(values, cam=replace(values.cam, scales=(1.0,), options=options))
    memory.run(values, project, Runtime(1, "cpu"), grow=False, rebuild=False)
    rows = {}
    for name in ("none", "memory"):
        own = replace(values, cam=replace(values.cam, refine=name))
        cam.run(own, project, Runtime(1, "cpu"))
        rows[name] = measure(own, project, choose(own, project, 100), "cpu").miou
        assert rows[name] == miou(of_labelled_frames(own, project))
    assert rows["none"] != rows["memory"]


def test_a_row_by_another_bank_is_not_taken_from_an_interrupted_comparison(project: Artifacts, values: Params) -> None:
    refined = replace(values.cam, refine="memory")
    keys = []
    for frames in (FRAMES, FRAMES[:4]):
        project.save_frames(frames)
        memory.run(values, project, Runtime(1, "cpu"), grow=False, rebuild=True)
        keys.append([row_key("the same", cam, project) for cam in (values.cam, refined)])
    (plain, by_bank), (plain_again, by_another) = keys
    assert plain == plain_again
    assert by_bank != by_another


def test_a_method_that_the_model_cannot_be_asked_for_says_why(project: Artifacts, values: Params) -> None:
    values = replace(values, cam=replace(values.cam, method="cam"))
    row = measure(values, project, choose(values, project, 2), "cpu")
    assert "linear classifier behind a mean" in row.note
    assert np.isnan([row.miou, row.seconds, row.memory_mib]).all()


def test_a_model_that_cannot_be_had_is_an_error_and_no_row(project: Artifacts, values: Params) -> None:
    values = replace(values, clip=replace(values.clip, pretrained="no.safetensors"))
    with pytest.raises(ModelError, match="expected a file of weights"):
        measure(values, project, choose(values, project, 2), "cpu")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gradcm"], "did you mean 'gradcam'?"),
        (
            ["--refine", "none,cab"],
            "caa, features, lposs, memory, none, pamr, propagate; found 'cab'; did you mean 'caa'?",
        ),
        (["--refine", "none,caa+pmar"], "found 'pmar'; did you mean 'pamr'?"),
        (["--refine", "caa+none"], "--refine: expected none alone"),
        (["--refine", ""], "--refine: expected one of caa, features, lposs, memory, none, pamr, propagate; found ''"),
    ],
)
def test_a_wrong_name_is_one_line(
    arguments: list[str], said: str, project: Artifacts, values: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    result = CliRunner().invoke(main, ["compare", *arguments])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert said in line


@pytest.fixture
def killed(project: Artifacts, values: Params) -> Artifacts:
    """A sweep over two methods that was killed when the first was done, without a word to what it had started."""
    command = [sys.executable, "-m", "wildseg.cli", "compare", "gradcam", "maskclip", "--refine", "none"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "WILDSEG_DEVICE": "cpu"}
    with subprocess.Popen(command, cwd=project.root, env=environment) as process:
        done = project.scratch_folder / "compare" / "gradcam-none.json"
        until(done.exists)
        until(lambda: "spawn_main" in "".join(commands(process.pid).values()))
        started = list(commands(process.pid))
        process.kill()
    assert not (project.metrics / "methods").exists()
    until(lambda: not any(map(command_line, started)))
    return project


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def commands(process: int) -> dict[str, str]:
    """What a process started, by number, as far as it still runs."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return {child: command_line(child) for child in children}


def command_line(process: str) -> str:
    """Return how a process was started; nothing if it has ended, waited for or not."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text()
    return ""


@pytest.mark.usefixtures("forked_workers")
def test_a_sweep_that_was_killed_keeps_its_rows_and_goes_on(killed: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_json(killed.scratch_folder / "compare" / "gradcam-none.json")["row"]
    monkeypatch.chdir(killed.root)
    monkeypatch.setenv("WILDSEG_DEVICE", "cpu")
    answer = CliRunner().invoke(main, ["compare", "gradcam", "maskclip", "--refine", "none"])
    assert answer.exit_code == 0, answer.output
    assert "1/2 gradcam, from an interrupted comparison" in answer.stderr
    assert "2/2 maskclip\n" in answer.stderr
    table = load_table(killed.metrics / "methods" / "table.csv", COLUMNS)
    assert [row["name"] for row in table] == ["gradcam", "maskclip"]
    assert float(table[0]["seconds"]) == pytest.approx(before["seconds"], rel=1e-3)
    assert set(load_json(killed.metrics / "methods" / "methods.json")) == {"gradcam", "maskclip"}
    assert not (killed.scratch_folder / "compare").exists()  # the next sweep measures anew
