"""Maps of another model after a change of classes: what `cam.method: given` reads under the new names."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.cli.classes.test_run import contents, here, refused, run  # noqa: F401
from wildseg.artifacts.project import Artifacts
from wildseg.cam.given_maps import GivenMaps

OLD = ("lawn", "road", "sky")
MAPS = "data/labels/maps"
ROAD, SKY = np.array([[0.0, 0.5], [1.0, 0.25]], np.float16), np.array([[0.25, 0.0], [0.5, 1.0]], np.float16)
DEEP = np.array([[0, 40000], [65535, 1]], np.uint16)


@pytest.fixture
def project(here: Artifacts) -> Artifacts:  # noqa: F811
    """A project with given maps: of a frame an archive, of another pictures of 8 bits, of a third one of 16."""
    folder = here.root / MAPS
    for frame in ("drive_000010", "other_000000"):
        (folder / frame).mkdir(parents=True)
    np.savez(folder / "drive_000000.npz", road=ROAD, sky=SKY)
    for name, level in (("lawn", 51), ("road", 102)):
        Image.fromarray(np.full((2, 2), level, np.uint8)).save(folder / f"drive_000010/{name}.png")
    Image.fromarray(DEEP).save(folder / "other_000000/road.png")
    (folder / "readme.txt").write_text("of a model")
    for name in ("overrides.csv", "given.csv"):
        (here.root / "data/labels" / name).unlink()
    return here


def maps(project: Artifacts, names: tuple[str, ...], frame: str, *classes: int) -> list[np.ndarray]:
    return list(GivenMaps(project.root / MAPS, names, "key").maps(frame, classes, (2, 2)))


def test_maps_of_a_renamed_class_have_its_new_name(project: Artifacts) -> None:
    before = contents(project.root)
    assert "changed: given maps of 3 frames in data/labels/maps" in run(project.root, "rename", "road", "street")
    new, after = ("lawn", "street", "sky"), contents(project.root)
    for frame, classes in (("drive_000000", (1, 2)), ("drive_000010", (0, 1)), ("other_000000", (1,))):
        assert len(maps(project, new, frame, *classes)) == len(classes)
    np.testing.assert_array_equal(maps(project, new, "drive_000000", 1, 2), [ROAD, SKY])
    for frame in ("drive_000010", "other_000000"):
        assert after[f"{MAPS}/{frame}/street.png"] == before[f"{MAPS}/{frame}/road.png"]
        assert f"{MAPS}/{frame}/road.png" not in after
    for name in ("drive_000010/lawn.png", "readme.txt"):
        assert after[f"{MAPS}/{name}"] == before[f"{MAPS}/{name}"]


def test_maps_of_merged_classes_are_their_maximum(project: Artifacts) -> None:
    run(project.root, "merge", "road", "sky", "lawn")  # a name that stays
    new = ("road",)
    np.testing.assert_array_equal(maps(project, new, "drive_000000", 0), [np.maximum(ROAD, SKY)])
    np.testing.assert_array_equal(maps(project, new, "drive_000010", 0), [np.full((2, 2), 0.4, np.float32)])
    np.testing.assert_array_equal(maps(project, new, "other_000000", 0), [(DEEP / np.float32(65535))])
    assert [path.name for path in (project.root / MAPS / "drive_000010").iterdir()] == ["road.png"]


def test_maps_stay_as_they_are_in_a_new_order(project: Artifacts) -> None:
    before = {name: content for name, content in contents(project.root).items() if name.startswith(MAPS)}
    assert "given maps" not in run(project.root, "reorder", "sky")
    assert {name: content for name, content in contents(project.root).items() if name.startswith(MAPS)} == before


def test_maps_of_a_class_that_becomes_several_are_refused(project: Artifacts) -> None:
    line = refused(project.root, "split", "road", "tar=tar, asphalt", "gravel_path")
    assert "data/labels/maps: 3 frames, the first is 'drive_000000', have maps of the class 'road', and 'split" in line
    for path in ("drive_000000.npz", "drive_000010/road.png", "other_000000/road.png"):
        (project.root / MAPS / path).unlink()
    run(project.root, "split", "road", "tar=tar, asphalt", "gravel_path")


def test_maps_that_do_not_fit_together_or_have_a_new_name_already_are_refused(project: Artifacts) -> None:
    folder = project.root / MAPS
    Image.fromarray(DEEP).save(folder / "drive_000010/lawn.png")
    line = refused(project.root, "merge", "ground", "lawn", "road")
    assert "drive_000010: expected maps of one size and type, which become one, found others among lawn, road" in line
    (folder / "drive_000010/street.png").write_bytes(b"")
    line = refused(project.root, "rename", "road", "street")
    assert "drive_000010: expected no map of 'street' before 'rename road street', found one; remove it" in line
    (folder / "drive_000000.npz").write_bytes(b"x")
    assert "drive_000000.npz: expected an .npz file of arrays" in refused(project.root, "rename", "road", "street")


def test_maps_outside_of_the_project_are_refused_while_they_name_a_class_that_changes(
    project: Artifacts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    away = tmp_path_factory.mktemp("away")
    (project.root / MAPS).rename(away / "maps")
    path = project.root / "params.yaml"
    path.write_text(path.read_text() + f"cam: {{options: {{given: {{path: {away / 'maps'}}}}}}}\n")
    assert "3 frames have maps of classes that change, outside of the pro" in refused(
        project.root, "rename", "road", "street"
    )
    run(project.root, "reorder", "sky")
    (project.root / MAPS).symlink_to(away / "maps")  # a part of the project on another disk
    path.write_text(path.read_text().replace(str(away / "maps"), str(project.root / MAPS)))
    run(project.root, "rename", "road", "file")
    np.testing.assert_array_equal(maps(project, ("sky", "lawn", "file"), "drive_000000", 2, 0), [ROAD, SKY])
