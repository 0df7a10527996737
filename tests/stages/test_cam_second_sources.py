"""The cam stage with maps of another model, from files, and with a second encoder beside CLIP."""

# ruff: noqa: F811 - fixtures are imported, and named as parameters
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.stages.test_cam import CPU, NAMES, project, values, with_cam  # noqa: F401 - fixtures
from wildseg.artifacts.project import Artifacts, FrameBoxes
from wildseg.core.errors import DataError, ParamsError
from wildseg.encoders.cnn import backbone
from wildseg.execution.params import Params
from wildseg.stages.cam import stage as cam

FRAMES = {"drive_000000": ("sky", "cement_road"), "drive_000002": ("tree",)}  # 1 shows nothing


def from_files(values: Params, **changes: object) -> Params:
    return with_cam(values, method="given", options={"given": {"path": "their/maps"}}, **changes)


def write(artifacts: Artifacts, level: float = 0.25) -> Path:
    folder = artifacts.root / "their" / "maps"
    folder.mkdir(parents=True, exist_ok=True)
    for frame, names in FRAMES.items():
        ramp = np.linspace(0, level, 12, dtype=np.float32).reshape(3, 4)
        np.savez(folder / f"{frame}.npz", **{name: ramp[:, ::-1] if name == "sky" else ramp for name in names})
    return folder


def test_maps_are_those_of_the_files_as_they_are_and_no_model_is_loaded(
    project: Artifacts,
    values: Params,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(project)
    nothing = replace(values, clip=replace(values.clip, pretrained="none.safetensors"))
    cam.run(from_files(nothing), project, CPU)
    classes, maps = project.load_maps("drive_000000")
    assert classes.tolist() == [0, 2]
    ramp = np.linspace(0, 0.25, 12).reshape(3, 4)
    np.testing.assert_allclose(maps, [ramp[:, ::-1], ramp], atol=1e-3)  # not stretched; stored in half precision
    assert project.load_maps("drive_000001")[1].shape[0] == 0
    assert capsys.readouterr().out == "cam: 3 frames, 3 maps by given, 1 frames without any\n"
    assert (project.map_network_folder / "config.json").exists()


def test_a_file_that_changed_computes_its_frame_again_and_no_other(
    project: Artifacts,
    values: Params,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", str(project.root / "cache"))
    folder = write(project)
    cam.run(from_files(values), project, CPU)
    np.savez(folder / "drive_000002.npz", tree=np.ones((3, 4)))
    cam.run(from_files(values, scales=(2.0,)), project, CPU)  # scales are not theirs
    assert capsys.readouterr().out.splitlines()[-1].endswith(", 2 from the cache")
    np.testing.assert_array_equal(project.load_maps("drive_000002")[1], np.ones((1, 3, 4)))


def test_boxes_constrain_given_maps_as_any_other(project: Artifacts, values: Params) -> None:
    write(project)
    box = np.array([[0, 0, 16, 48, 1, 1.0]])  # sky, in the first of four columns
    project.save_boxes({"drive_000000": FrameBoxes(64, 48, box)}, NAMES, project.limits_json)
    cam.run(from_files(values), project, CPU)
    sky = project.load_maps("drive_000000")[1][0]
    assert (sky[1:, 0] > 0).all()
    assert not sky[:, 1:].any()


def test_a_frame_without_files_is_told_before_anything_is_removed(project: Artifacts, values: Params) -> None:
    folder = write(project)
    cam.run(from_files(values), project, CPU)
    (folder / "drive_000002.npz").unlink()
    with pytest.raises(DataError, match=r"^cam\.options\.given\.path: expected maps of each of 2 .* 1 have none"):
        cam.run(from_files(values), project, CPU)
    assert len(list(project.cams_folder.glob("*.npz"))) == 3


def test_a_frame_whose_file_cannot_be_used_is_quarantined(project: Artifacts, values: Params) -> None:
    folder = write(project)
    np.savez(folder / "drive_000002.npz", tree=np.full((3, 4), 2.0))
    cam.run(from_files(values, max_failures=0.5), project, CPU)
    ((frame, why),) = project.load_quarantine("cam")
    assert frame == "drive_000002"
    assert "expected values in [0, 1], found 2 to 2" in why
    with pytest.raises(DataError, match=r"drive_000002"):
        cam.run(from_files(values, max_failures=0.0), project, CPU)


def test_given_maps_are_not_refined(project: Artifacts, values: Params) -> None:
    write(project)
    with pytest.raises(ParamsError, match=r"^cam\.refine: expected none, because given takes maps from files as they"):
        cam.run(from_files(values, refine="caa"), project, CPU)


# A second encoder ----------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"encoder": "tu-resnet18", "stride": 16, "encoder_weights": None}


def beside(values: Params, **options: object) -> Params:
    return with_cam(values, method="proxyclip", options={"proxyclip": {**SMALL, **options}})


def test_maps_of_a_second_encoder_follow_its_weights(
    project: Artifacts,
    values: Params,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", str(project.root / "cache"))
    cam.run(beside(values), project, CPU)
    first = project.load_maps("drive_000000")[1]
    assert first.shape == (2, 6, 8)  # CLIP's grid is the finer one
    torch.manual_seed(5)
    state = backbone.create("tu-resnet18", None, 16).encoder.state_dict()
    file = project.root / "own.safetensors"
    save_file({key.removeprefix("model."): value.contiguous() for key, value in state.items()}, file)
    own = beside(values, encoder_weights="own.safetensors")
    cam.run(own, project, CPU)
    second = project.load_maps("drive_000000")[1]
    assert np.abs(second - first).max() > 0.01
    cam.run(own, project, CPU)
    save_file({key.removeprefix("model."): 1.5 * value.contiguous() for key, value in state.items()}, file)
    cam.run(own, project, CPU)
    lines = [line for line in capsys.readouterr().out.splitlines() if " maps by proxyclip" in line]
    assert [line.endswith(", 3 from the cache") for line in lines] == [False, False, True, False]
