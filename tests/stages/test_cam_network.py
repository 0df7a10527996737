"""The cam stage with a method that trains a network: trained once, continued after a kill, and what it leaves."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file

from tests.encoders.models import noise
from tests.shared import shipped_params
from wildseg.artifacts.project import Artifacts, Frame, PromptSet
from wildseg.cam.networks import fit
from wildseg.cam.refinement import Refinement
from wildseg.core.errors import DataError, ParamsError
from wildseg.execution import params, result_store
from wildseg.execution.failures import Failures
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.methods.refine import propagate
from wildseg.stages.cam import network, training_frames
from wildseg.stages.cam import stage as cam
from wildseg.tracking import mlflow_run

NAMES = ("sky", "tree", "road")
CPU = Runtime(1, "cpu")
SPLITS = ("train", "train", "train", "val", "test")
PRESENT = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 1, 1]], bool)
SMALL: dict[str, Any] = {
    "encoder": "tu-test_resnet", "encoder_weights": None, "stride": 16, "crop": 32, "size": [48, 64],
    "batch_size": 2, "epochs": 4, "map": "cam", "train": "all", "lr": 0.01, "head_lr": 10.0,
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    artifacts = Artifacts(tmp_path)
    frames = [Frame(f"drive_{i:06d}", "drive", i, i / 5, split) for i, split in enumerate(SPLITS)]
    for frame in frames:
        artifacts.save_image(frame.name, noise((48, 64), frame.index))
    artifacts.save_frames(frames)
    artifacts.save_labels([frame.name for frame in frames], NAMES, PRESENT)
    artifacts.save_prompts(PromptSet(("a photo of {}.",), ()))
    return artifacts


def values(**changes: Any) -> Params:  # noqa: ANN401
    whole = shipped_params()
    options = {**whole.cam.options, "classifier": {**SMALL, **changes.pop("options", {})}}
    pinned = {"method": "classifier", "refine": "none", "scales": (1.0,), "max_side": None}
    section = replace(whole.cam, options=options, **{**pinned, **changes})
    classes = params.Classes.from_mapping({name: name for name in NAMES})
    return replace(whole, classes=classes, background=(), cam=section)


def outputs(project: Artifacts) -> dict[str, bytes]:
    folders = (project.map_network_folder, project.cams_folder, project.metrics / "cam")
    return {str(path.relative_to(project.root)): path.read_bytes() for each in folders for path in each.iterdir()}


def curve(project: Artifacts) -> list[dict[str, str]]:
    with (project.metrics / "cam" / "curve.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_it_leaves_the_network_its_curve_and_maps_of_all_frames(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    cam.run(values(), project, CPU)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cam: no training frame is labelled tree: the network cannot learn maps of it"
    assert lines[1].startswith("cam: every training frame is labelled road: without a frame that lacks it, its map")
    assert lines[2].startswith("cam: the classifier has learned nothing from the images: its loss is 0.")
    assert lines[3].startswith("cam: classifier trained on 3 frames, 6 steps, loss 0.")
    assert lines[4].startswith("cam: 5 frames, 7 maps by classifier, 0 frames without any")
    for frame, classes in (("drive_000000", [0, 2]), ("drive_000004", [1, 2])):
        found, maps = project.load_maps(frame)
        assert found.tolist() == classes
        assert maps.shape == (2, 3, 4)
        assert ((maps >= 0) & (maps <= 1)).all()
    config = json.loads((project.map_network_folder / "config.json").read_text())
    assert config["method"] == "classifier"
    assert config["network"]["options"]["encoder"] == "tu-test_resnet"
    assert config["network"]["class_names"] == list(NAMES)
    tensors = load_file(project.map_network_weights)
    assert tensors["network.classifier.weight"].shape[0] == 3
    rows = curve(project)
    assert [row["step"] for row in rows] == [*"112233445566"]
    assert [row["curve"] for row in rows] == ["loss", "lr"] * 6
    assert all(float(row["value"]) > 0 for row in rows)


def test_pretrained_weights_are_named_before_the_training(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(timm.create_model("test_resnet").state_dict(), project.root / "w.safetensors")
    cam.run(values(options={"encoder_weights": "w.safetensors", "epochs": 0.1}), project, CPU)
    lines = [line for line in capsys.readouterr().out.splitlines() if "w.safetensors" in line]
    assert lines == ["cam: encoder weights: 90 of 92 tensors from w.safetensors; left out: fc"]


def test_a_training_free_method_leaves_a_config_that_says_so(project: Artifacts) -> None:
    network_free = replace(values(), cam=replace(values().cam, method="gradcam"))
    cam._network(network_free, project, CPU, cam.make_task(network_free, project), {}, {}, Failures("cam", 0, 5))
    assert json.loads((project.map_network_folder / "config.json").read_text()) == {
        "method": "gradcam", "network": None
    }  # fmt: skip
    assert (project.metrics / "cam" / "curve.csv").read_text() == "step,curve,value\n"


def test_the_same_training_is_done_once_and_another_map_reads_it_anew(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(result_store.VARIABLE, str(project.root / "cache"))
    cam.run(values(), project, CPU)
    before = outputs(project)
    with monkeypatch.context() as nothing_trains:
        nothing_trains.setattr(fit, "train", None)
        cam.run(values(), project, CPU)
        assert outputs(project) == before
        assert ", from the cache" in capsys.readouterr().out
        cam.run(values(scales=(1.0, 1.5)), project, CPU)  # only the maps are others
    cam.run(values(options={"epochs": 5}), project, CPU)
    assert outputs(project)["models/cam/model.safetensors"] != before["models/cam/model.safetensors"]


def test_a_killed_training_continues_to_the_same_bytes(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    cam.run(values(), project, CPU)
    expected = outputs(project)
    monkeypatch.setattr(network, "SECONDS", -1.0)  # a checkpoint after each step
    whole, seen = fit.train, []

    def killed(*arguments: Any) -> Iterator[fit.Progress]:  # noqa: ANN401
        for progress in whole(*arguments):
            seen.append(progress.step)
            yield progress
            if progress.step == 4:
                raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(fit, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            cam.run(values(), project, CPU)
    assert seen == [1, 2, 3, 4]

    def noted(*arguments: Any) -> Iterator[fit.Progress]:  # noqa: ANN401
        for progress in whole(*arguments):
            seen.append(progress.step)
            yield progress

    monkeypatch.setattr(fit, "train", noted)
    cam.run(values(), project, CPU)
    assert seen[4:] == [5, 6]
    assert outputs(project) == expected


def test_curves_are_on_disk_and_in_the_tracker_while_it_trains(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tracker:
        def __init__(self) -> None:
            self.logged: dict[int, dict[str, float]] = {}

        def log(self, step: int, **metrics: float) -> None:
            assert float(curve(project)[-1]["value"]) >= 0
            assert int(curve(project)[-1]["step"]) >= step
            self.logged[step] = metrics

    opened: list[tuple[str, Tracker]] = []

    @contextmanager
    def training(_artifacts: Artifacts, _params: Params, key: str) -> Iterator[Tracker]:
        opened.append((key, Tracker()))
        yield opened[-1][1]

    monkeypatch.setattr(mlflow_run, "map_training", training)
    monkeypatch.setattr(network, "SECONDS", -1.0)  # a checkpoint after each step
    whole = fit.train

    def killed(*arguments: Any) -> Iterator[fit.Progress]:  # noqa: ANN401
        for progress in whole(*arguments):
            yield progress
            if progress.step == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(fit, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            cam.run(values(), project, CPU)
    cam.run(values(), project, CPU)
    (key, first), (again, second) = opened
    assert key == again
    assert list(first.logged) == [1, 2, 3]
    assert list(second.logged) == [1, 2, 3, 4, 5, 6]  # of which the tracker has some
    assert {step: second.logged[step] for step in (1, 2, 3)} == first.logged
    assert second.logged[6].keys() == {"loss", "lr"}


def test_a_network_from_the_result_store_and_one_without_a_step_open_no_run(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(result_store.VARIABLE, str(project.root / "cache"))
    cam.run(values(), project, CPU)
    monkeypatch.setattr(mlflow_run, "map_training", None)
    cam.run(values(), project, CPU)
    cam.run(values(options={"epochs": 0}), project, CPU)
    assert curve(project) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"refine": "caa"},
            r"^cam\.refine: expected none or pamr or propagate, because classifier reads .* own; caa needs the",
        ),
        ({"options": {"map": "sclip"}}, r"^cam\.options\.classifier\.map: expected a CAM method for CNNs; sclip needs"),
    ],
)
def test_a_mistake_is_one_line(project: Artifacts, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        cam.run(values(**change), project, CPU)


def test_maps_of_a_network_are_refined_on_pixels(project: Artifacts) -> None:
    cam.run(values(), project, CPU)
    frame = next(iter(project.load_labels(NAMES)))
    _, before = project.load_maps(frame)
    weights = project.map_network_weights.read_bytes()
    cam.run(values(refine="propagate"), project, CPU)
    _, maps = project.load_maps(frame)
    assert project.map_network_weights.read_bytes() == weights
    assert maps.shape[1] > before.shape[1]
    expected = Refinement(propagate).refine_frame(before, project.load_image(frame))
    np.testing.assert_allclose(maps, expected, atol=2e-3)  # both stored in half precision


def test_without_a_training_frame_nothing_is_trained(project: Artifacts) -> None:
    project.save_frames([Frame(f"drive_{i:06d}", "drive", i, i / 5, "test") for i in range(5)])
    with pytest.raises(DataError, match=r"^cam: classifier expected key frames of the split train, found none$"):
        cam.run(values(), project, CPU)


# Frames that cannot be read ------------------------------------------------------------------------------------------


def break_frame(project: Artifacts, number: int) -> str:
    path = project.frame_path(f"drive_{number:06d}")
    path.write_bytes(path.read_bytes()[:400])
    return path.stem


def quarantined(project: Artifacts) -> list[str]:
    return [frame for frame, _ in project.load_quarantine("cam")]


def test_a_broken_training_frame_is_quarantined_once_and_nothing_is_learned_from_it(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = break_frame(project, 1)
    cam.run(values(max_failures=0.2), project, CPU)
    lines = capsys.readouterr().out.splitlines()
    assert quarantined(project) == [broken]
    assert lines[-2].startswith("cam: classifier trained on 2 frames, 4 steps, loss ")
    assert lines[-1].startswith("cam: 4 frames, 6 maps by classifier, 0 frames without any, ")
    assert lines[-1].endswith(", 1 quarantined")
    found = outputs(project)
    assert f"data/cams/{broken}.npz" not in found

    project.save_frames([frame for frame in project.load_frames() if frame.name != broken])
    cam.run(values(), project, CPU)
    expected = outputs(project)
    del found["data/cams/quarantine.csv"], expected["data/cams/quarantine.csv"]
    assert found == expected


def test_the_same_training_frames_are_decoded_once(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", "")
    broken = break_frame(project, 1)
    cam.run(values(max_failures=0.2), project, CPU)
    found = outputs(project)
    monkeypatch.setattr(training_frames, "_size", None)
    cam.run(values(max_failures=0.2), project, CPU)
    assert outputs(project) == found
    assert quarantined(project) == [broken]


def test_a_training_frame_without_a_file_is_quarantined(project: Artifacts) -> None:
    project.frame_path("drive_000001").unlink()
    cam.run(values(max_failures=0.2), project, CPU)
    assert quarantined(project) == ["drive_000001"]


def test_training_frames_count_towards_the_limit_of_all(project: Artifacts) -> None:
    names = [break_frame(project, number) for number in (1, 4)]  # one of train, one of test
    cam.run(values(max_failures=0.4), project, CPU)
    assert quarantined(project) == names
    with pytest.raises(DataError, match=r"^cam\.max_failures: expected at most 20% of 5 frames to fail, .* found 2"):
        cam.run(values(max_failures=0.2), project, CPU)


def test_a_broken_training_frame_above_the_limit_stops_before_the_first_step(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_frame(project, 2)
    monkeypatch.setattr(fit, "train", None)
    with pytest.raises(DataError, match=r"drive_000002\.jpg: .*; run 'dvc repro extract'$"):
        cam.run(values(), project, CPU)


def test_a_stage_without_a_readable_training_frame_is_one_line(project: Artifacts) -> None:
    for number in range(3):
        break_frame(project, number)
    with pytest.raises(DataError, match=r"^cam: classifier expected key frames of the split train, found none"):
        cam.run(values(max_failures=0.9), project, CPU)


def test_saliency_of_another_size_stops_before_the_first_step(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "sal").mkdir()
    for number, size in enumerate([(64, 48), (32, 24), (48, 64)]):
        Image.new("L", size).save(project.root / "sal" / f"drive_{number:06d}.png")
    options = {"l2g": {"encoder": "tu-test_resnet", "stride": 16, "crop": 32, "patch": 32, "saliency": "sal"}}
    monkeypatch.setattr(fit, "train", None)
    wrong = replace(values(), cam=replace(values().cam, method="l2g", options=options))
    line = (
        r"^cam\.options\.l2g\.saliency: expected saliency of the size of its frame; 2 of 3 files have another one: "
        r"\S*drive_000001\.png has 32x24 pixels and its frame 64x48, \.\.\.; resize them, or remove them: "
    )
    with pytest.raises(DataError, match=line):
        cam.run(wrong, project, CPU)
    assert quarantined(project) == []


def test_a_network_that_learns_from_tiles_is_another_one(
    project: Artifacts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", "")
    cam.run(values(), project, CPU)
    before = project.map_network_weights.read_bytes()
    tiles = np.zeros((5, 2, 1, 3), bool)
    tiles[:, 0] = PRESENT[:, None]  # all that is there is above
    project.save_labels([f"drive_{i:06d}" for i in range(5)], NAMES, PRESENT, tiles)
    capsys.readouterr()
    cam.run(values(), project, CPU)
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if line.startswith("cam: every ")]  # no tile below shows a road
    assert "inside of 2 x 1 tiles" in lines[-1]
    assert project.map_network_weights.read_bytes() != before
    _, maps = project.load_maps("drive_000000")
    assert not maps[:, 2].any()  # of three rows of cells the last
    cam.run(values(), project, CPU)
    assert "from the cache" in capsys.readouterr().out
