"""Weak labels of a few frames whose maps are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.stages.tiny_run import LAWN, ROAD
from tests.stages.tiny_run import params as tiny_params
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.errors import DataError
from wildseg.core.files import load_json
from wildseg.core.tables import load_table
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.stages import weak

ALONE = Runtime(1, "cpu")
WIDTH, HEIGHT = 48, 32


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    """Lawn left, road right; in the third frame nothing."""
    artifacts = Artifacts(tmp_path)
    names = [f"drive_{index:06d}" for index in range(3)]
    artifacts.save_frames([Frame(name, "drive", i, i / 2, "train") for i, name in enumerate(names)])
    left = np.repeat([[1.0, 1.0, 0.5, 0.0, 0.0, 0.0]], 4, axis=0)
    for number, name in enumerate(names):
        artifacts.save_image(name, np.full((HEIGHT, WIDTH, 3), 90 + number, np.uint8))
        maps, classes = np.stack([left, left[:, ::-1]]), np.array([0, 1])
        artifacts.save_maps(name, classes, maps) if number != 2 else artifacts.save_maps(name, classes[:0], maps[:0])
    return artifacts


def values(background: tuple[str, ...] = (), **changes: object) -> Params:
    whole = tiny_params(background)
    return replace(whole, weak=replace(whole.weak, **changes))


def outputs(artifacts: Artifacts) -> dict[str, bytes]:
    files = [path for folder in (artifacts.data, artifacts.metrics) for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(artifacts.root)): path.read_bytes() for path in files}


def test_boxes_points_and_scribbles_are_where_the_maps_are(project: Artifacts) -> None:
    weak.run(values(), project, ALONE)
    found = project.load_boxes(("lawn", "road", "sky"))
    # Enlarged 8 times, the map falls from 0.5 at x = 20 by 1/16 a pixel: 0.4 is at 21.6, just behind pixel 21.
    assert found["drive_000000"].boxes[:, :5].tolist() == [[0, 0, 22, 32, LAWN], [26, 0, 48, 32, ROAD]]
    assert found["drive_000002"].boxes.shape == (0, 6)
    points = load_table(project.data / "points" / "points.csv", ("frame", "x", "y", "class"))
    assert {row["class"] for row in points} == {"lawn", "road"}
    dots = project.load_weak("points", "drive_000000")
    for row in points:
        if row["frame"] == "drive_000000":
            assert dots[int(row["y"]), int(row["x"])] == {"lawn": LAWN, "road": ROAD}[row["class"]]
            assert (int(row["x"]) < 24) == (row["class"] == "lawn")
    lines = project.load_weak("scribbles", "drive_000000")
    assert set(np.unique(lines[:, :20])) == {LAWN, 255}
    assert set(np.unique(lines[:, 28:])) == {ROAD, 255}
    assert (project.load_weak("scribbles", "drive_000002") == 255).all()


def test_background_is_marked_only_where_there_is_such_a_class(project: Artifacts) -> None:
    weak.run(values(), project, ALONE)
    assert not (project.load_weak("points", "drive_000002") == 0).any()
    weak.run(values(("wall",)), project, ALONE)
    for kind in ("points", "scribbles"):
        assert set(np.unique(project.load_weak(kind, "drive_000002"))) == {0, 255}
    assert load_json(project.metrics_path("weak.json"))["points_by_class"]["background"] == 5


def test_the_numbers_are_those_of_the_files(project: Artifacts, capsys: pytest.CaptureFixture[str]) -> None:
    weak.run(values(), project, ALONE)
    report = load_json(project.metrics_path("weak.json"))
    assert report["boxes_by_class"] == {"lawn": 2, "road": 2, "sky": 0}
    lines = [project.load_weak("scribbles", f"drive_{index:06d}") != 255 for index in range(3)]
    assert report["scribbled"] == pytest.approx(np.mean(lines))
    assert report["points"] == len(load_table(project.data / "points" / "points.csv", ("frame",)))
    assert capsys.readouterr().out.startswith("weak: 3 frames, 4 boxes, ")


def test_pictures_show_as_many_frames_as_wanted(project: Artifacts) -> None:
    weak.run(values(pictures=2), project, ALONE)
    sheets = sorted(project.metrics_path("weak").iterdir())
    assert [path.name for path in sheets] == ["drive_000000.png", "drive_000002.png"]
    for path in sheets:
        with Image.open(path) as image:
            assert image.width > 1000
    weak.run(values(pictures=0), project, ALONE)
    assert not list(project.metrics_path("weak").iterdir())


def test_two_runs_any_workers_and_the_cache_give_the_same_bytes(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", "")
    settings = values(("wall",))
    weak.run(settings, project, ALONE)
    expected = outputs(project)
    weak.run(settings, project, ALONE)  # from the cache
    assert outputs(project) == expected
    monkeypatch.setenv("WILDSEG_CACHE", "off")
    weak.run(settings, project, Runtime(2, "cpu"))
    assert outputs(project) == expected


def test_frames_that_were_set_aside_have_none(project: Artifacts) -> None:
    project.save_quarantine("cam", [("drive_000001", "broken")])
    weak.run(values(), project, ALONE)
    assert not project.weak_path("scribbles", "drive_000001").exists()
    assert project.load_quarantine("scribbles") == project.load_quarantine("points") == [("drive_000001", "broken")]


def test_a_frame_that_cannot_be_used_is_set_aside_and_counted(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    project.save_quarantine("cam", [("drive_000002", "broken")])
    project.maps_path("drive_000001").write_bytes(b"no maps")
    weak.run(values(max_failures=0.5), project, ALONE)
    assert capsys.readouterr().out.startswith("weak: 1 frames, 2 boxes, ")
    for kind in ("scribbles", "points"):
        assert [frame for frame, _ in project.load_quarantine(kind)] == ["drive_000002", "drive_000001"]
        assert [path.stem for path in project.weak_folder(kind).glob("*.png")] == ["drive_000000"]
        assert [frame.name for frame in project.load_frames(after=kind)] == ["drive_000000"]
    assert list(project.load_boxes(("lawn", "road", "sky"))) == ["drive_000000"]
    assert load_json(project.metrics_path("weak.json"))["frames"] == 1
    project.quarantine_csv("points").write_text("frame\nx\n")
    with pytest.raises(DataError, match=r"; run 'dvc repro data/weak/dvc\.yaml'$"):
        project.load_quarantine("points")


def test_maps_that_do_not_fit_are_told(project: Artifacts) -> None:
    project.save_maps("drive_000001", np.array([7]), np.ones((1, 4, 6)))
    with pytest.raises(DataError, match=r"drive_000001.*class indices below 3, found \[7\]; run 'dvc repro cam'"):
        weak.run(values(), project, ALONE)


def test_of_frames_in_shards_they_are_in_shards(project: Artifacts) -> None:
    names = [frame.name for frame in project.load_frames()]
    weak.run(values(), project, ALONE)
    loose = {(kind, name): project.load_weak(kind, name) for kind in ("points", "scribbles") for name in names}
    project.pack_frames(names)
    project.pack_maps(names)
    weak.run(values(), project, ALONE)
    for (kind, name), ids in loose.items():
        assert not project.weak_path(kind, name).exists()
        assert (project.load_weak(kind, name) == ids).all()
