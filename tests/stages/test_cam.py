"""The cam stage on a folder of a few frames."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cam.configs import by_caa, cam_config
from tests.encoders.models import noise, save
from tests.shared import shipped_params
from wildseg.artifacts.project import Artifacts, Frame, FrameBoxes, PromptSet
from wildseg.cam.engine import activation_maps
from wildseg.cam.refinement import Refinement
from wildseg.core.errors import DataError, ModelError, ParamsError
from wildseg.encoders import clip
from wildseg.execution import params, result_store
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.methods.cam import gradcam, hirescam
from wildseg.methods.refine import lposs, propagate
from wildseg.stages.cam import stage as cam

NAMES = ("sky", "tree", "cement_road")
CPU = Runtime(1, "cpu")
TEMPLATES = ("a photo of {}.",)
PRESENT = np.array([[True, False, True], [False, False, False], [False, True, False]])


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    artifacts = Artifacts(tmp_path)
    frames = [Frame(f"drive_{i:06d}", "drive", i, i / 5, "train") for i in range(3)]
    for frame in frames:
        artifacts.save_image(frame.name, noise((48, 64), frame.index))
    artifacts.save_frames(frames)
    artifacts.save_labels([frame.name for frame in frames], NAMES, PRESENT)
    artifacts.save_prompts(PromptSet(TEMPLATES, ()))
    return artifacts


@pytest.fixture
def values(project: Artifacts) -> Params:
    whole = shipped_params()
    name, weights = save(project.root, "tiny")
    return replace(
        whole,
        classes=params.Classes.from_mapping({"sky": ["sky", "clouds"], "tree": "tree", "cement_road": "cement road"}),
        clip=replace(whole.clip, model=name, pretrained=Path(weights).name),
        background=(),
        cam=replace(whole.cam, method="gradcam", refine="none", scales=(1.0,), flip=False, max_side=None),
    )


def with_cam(values: Params, **changes: object) -> Params:
    return replace(values, cam=replace(values.cam, **changes))


def test_every_frame_gets_maps_of_the_classes_in_it(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    cam.run(with_cam(values, method="gradcam", refine="none", scales=(1.0,)), project, CPU)
    for frame, classes in (("drive_000000", [0, 2]), ("drive_000001", []), ("drive_000002", [1])):
        found, maps = project.load_maps(frame)
        assert found.tolist() == classes
        assert maps.shape == (len(classes), 6, 8)
        assert ((maps >= 0) & (maps <= 1)).all()
    assert capsys.readouterr().out == "cam: 3 frames, 3 maps by gradcam, 1 frames without any\n"


def test_parameters_reach_the_maps(project: Artifacts, values: Params) -> None:
    spread = replace(values.cam.caa, layers=2, skip_last=1, sinkhorn=2, power=1, box=0.3)
    changed = with_cam(values, method="hirescam", refine="caa", scales=(1.0, 1.5), flip=True, caa=spread)
    cam.run(changed, project, CPU)
    model = clip.load(values.clip.model, values.clip.pretrained, root=project.root)
    texts = model.classifier(values.classes.phrases, TEMPLATES)
    recipe = cam_config(
        hirescam,
        {},
        by_caa(layers=2, skip_last=1, sinkhorn=2, power=1, box=0.3),
        scales=(1.0, 1.5),
        flip=True,
    )
    expected = activation_maps(model, project.load_image("drive_000000"), texts, (0, 2), 3, recipe)
    _, maps = project.load_maps("drive_000000")
    np.testing.assert_allclose(maps, expected, atol=1e-3)  # stored in half precision


def test_refinements_follow_each_other_of_each_pass_and_then_of_the_frame(project: Artifacts, values: Params) -> None:
    options = {"propagate": {"side": 24}}
    changed = with_cam(values, refine=("caa", "lposs", "propagate"), scales=(1.0, 1.5), flip=True, options=options)
    cam.run(changed, project, CPU)
    model = clip.load(values.clip.model, values.clip.pretrained, root=project.root)
    texts = model.classifier(values.classes.phrases, TEMPLATES)
    image, config = project.load_image("drive_000000"), cam_config(gradcam, {}, by_caa(), scales=(1.0, 1.5), flip=True)
    config = replace(config, refinements=(*config.refinements, Refinement(lposs)))
    passes = activation_maps(model, image, texts, (0, 2), 3, config)
    expected = Refinement(propagate, options={"side": 24}).refine_frame(passes, image)
    _, maps = project.load_maps("drive_000000")
    assert maps.shape == (2, 24, 32)
    np.testing.assert_allclose(maps, expected, atol=1e-3)  # stored in half precision


def test_a_list_of_one_is_its_name_and_an_empty_one_is_none(project: Artifacts, values: Params) -> None:
    def depends_on(refine: object, **options: object) -> object:
        return cam.make_task(with_cam(values, refine=refine, options={"gradcam": {}, **options}), project).depends_on()

    assert depends_on(("caa",)) == depends_on("caa")
    assert depends_on(()) == depends_on("none")
    assert depends_on(("caa", "lposs")) != depends_on(("lposs", "caa"))
    # What is said of a refinement counts where it is chosen.
    assert depends_on("none", pamr={"steps": 3}) == depends_on("none")
    assert depends_on("pamr", pamr={"steps": 3}) != depends_on("pamr", pamr={"steps": 4})
    keys = {"method", "refine", "scales", "flip", "max_side", "pos_embed_interpolation", "options"}
    assert depends_on("none")["cam"].keys() == keys  # type: ignore[index]
    assert depends_on("caa")["cam"].keys() == {*keys, "caa"}  # type: ignore[index]
    assert (depends_on("none")["cam"]["refine"], depends_on("caa")["cam"]["refine"]) == ("none", "caa")  # type: ignore[index]


def test_two_runs_write_the_same_bytes(project: Artifacts, values: Params) -> None:
    cam.run(values, project, CPU)
    before = {path.name: path.read_bytes() for path in project.cams_folder.iterdir()}
    cam.run(values, project, CPU)
    assert {path.name: path.read_bytes() for path in project.cams_folder.iterdir()} == before


@pytest.mark.usefixtures("forked_workers")
def test_any_number_of_workers_writes_the_same_bytes(project: Artifacts, values: Params) -> None:
    changed = with_cam(values, scales=(1.0, 1.5), refine="caa")
    cam.run(changed, project, CPU)
    before = {path.name: path.read_bytes() for path in project.cams_folder.iterdir()}
    cam.run(changed, project, Runtime(2, "cpu"))
    assert {path.name: path.read_bytes() for path in project.cams_folder.iterdir()} == before


@pytest.mark.usefixtures("forked_workers")
def test_a_model_that_cannot_be_had_leaves_the_maps_of_an_earlier_run(project: Artifacts, values: Params) -> None:
    cam.run(values, project, CPU)
    with pytest.raises(ModelError, match="expected a file of weights, found none"):
        cam.run(replace(values, clip=replace(values.clip, pretrained="no.safetensors")), project, Runtime(2, "cpu"))
    assert len(list(project.cams_folder.glob("*.npz"))) == 3


def test_maps_of_an_earlier_run_are_removed(project: Artifacts, values: Params) -> None:
    project.save_maps("gone_000001", np.zeros(0), np.zeros((0, 6, 8)))
    cam.run(values, project, CPU)
    assert sorted(path.stem for path in project.cams_folder.glob("*.npz")) == [f"drive_{i:06d}" for i in range(3)]


def test_a_frame_without_labels_is_told(project: Artifacts, values: Params) -> None:
    project.save_labels(["drive_000000"], NAMES, PRESENT[:1])
    with pytest.raises(DataError, match=r"labels for each of 3 frames, 2 have none, the first is 'drive_000001'"):
        cam.run(values, project, CPU)


def test_background_phrases_compete_in_the_softmax(project: Artifacts, values: Params) -> None:
    soft = with_cam(values, method="softmax_gradcam", options={"softmax_gradcam": {"competitors": "present"}})
    cam.run(soft, project, CPU)
    before = project.load_maps("drive_000000")[1]
    project.save_prompts(PromptSet(TEMPLATES, ("wall", "sea")))
    cam.run(soft, project, CPU)
    assert (project.load_maps("drive_000000")[1] != before).any()


@pytest.mark.parametrize("method", ["softmax_gradcam", "maskclip", "sclip", "clearclip", "naclip"])
def test_one_class_and_no_background_is_told_before_a_model_is_loaded(
    method: str, project: Artifacts, values: Params
) -> None:
    one = replace(values, classes=params.Classes.from_mapping({"sky": "sky"}), clip=replace(values.clip, model="?"))
    with pytest.raises(ParamsError, match=f"{method} compares a class with others.*background: auto.*gradcam"):
        cam.run(with_cam(one, method=method), project, CPU)


def test_tiny_frames_and_maps_that_show_nothing_are_counted(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    project.save_image("drive_000000", noise((5, 6)))
    cam.run(values, project, CPU)
    _, maps = project.load_maps("drive_000000")
    assert maps.shape == (2, 1, 1)
    assert not maps.any()
    line = capsys.readouterr().out
    assert (
        "3 maps by gradcam, 1 frames without any, 2 maps the same everywhere (kept as zero), 1 frames smaller" in line
    )


def test_several_frames_together_give_the_maps_of_each_alone(
    project: Artifacts, values: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.save_image("drive_000002", noise((40, 56), 2))  # of another size than the others
    recipe = with_cam(values, refine="caa", scales=(1.0, 1.5), flip=True)
    cam.run(recipe, project, CPU)
    alone = {frame: project.load_maps(frame)[1] for frame in ("drive_000000", "drive_000001", "drive_000002")}
    monkeypatch.setattr("wildseg.execution.run_frames.gpus", lambda _: ["one that fills batches"])
    cam.run(recipe, project, CPU)
    for frame, maps in alone.items():
        np.testing.assert_allclose(project.load_maps(frame)[1], maps, atol=1e-3)  # float16


def test_a_frame_that_cannot_be_read_does_not_take_its_batch_along(
    project: Artifacts, values: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.frame_path("drive_000002").write_bytes(b"no image")
    monkeypatch.setattr("wildseg.execution.run_frames.gpus", lambda _: ["one that fills batches"])
    cam.run(with_cam(values, max_failures=0.5), project, CPU)
    assert project.maps_path("drive_000000").is_file()
    assert not project.maps_path("drive_000002").exists()
    assert [row[0] for row in project.load_quarantine("cam")] == ["drive_000002"]


def test_maps_are_asked_for_in_the_words_that_label_left_and_not_in_those_of_params(
    project: Artifacts, values: Params
) -> None:
    project.save_prompts(PromptSet(("an aerial view of {}",), ()))
    cam.run(values, project, CPU)
    model = clip.load(values.clip.model, values.clip.pretrained, root=project.root)
    texts = model.classifier(values.classes.phrases, ("an aerial view of {}",))
    recipe = cam_config(gradcam)
    expected = activation_maps(model, project.load_image("drive_000000"), texts, (0, 2), 3, recipe)
    np.testing.assert_allclose(project.load_maps("drive_000000")[1], expected, atol=1e-3)


def test_other_words_are_other_entries_of_the_cache_and_the_same_words_the_same(
    project: Artifacts, values: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(result_store.VARIABLE)
    told = []
    for templates in (TEMPLATES, ("{}",), TEMPLATES):
        project.save_prompts(PromptSet(templates, ()))
        cam.run(replace(values, clip=replace(values.clip, templates="sharpest")), project, CPU)
        told.append(capsys.readouterr().out.split("without any")[1])
    assert told == ["\n", "\n", ", 3 from the cache\n"]


def test_words_that_are_missing_are_told_with_the_command_that_makes_them(project: Artifacts, values: Params) -> None:
    project.prompts_json.unlink()
    with pytest.raises(DataError, match=r"prompts\.json: expected a JSON file .*; run 'dvc repro label'$"):
        cam.run(values, project, CPU)


@pytest.mark.parametrize(("kind", "grid"), [("resnet", (2, 2)), ("patch14", (4, 5)), ("avg", (3, 4))])
def test_any_kind_of_clip_gives_maps(kind: str, grid: tuple[int, int], project: Artifacts, values: Params) -> None:
    name, weights = save(project.root, kind)
    other = replace(values, clip=replace(values.clip, model=name, pretrained=Path(weights).name))
    cam.run(with_cam(other, method="softmax_gradcam", refine="caa"), project, CPU)
    classes, maps = project.load_maps("drive_000000")
    assert classes.tolist() == [0, 2]
    assert maps.shape == (2, *grid)
    assert np.isfinite(maps).all()


def test_maps_are_kept_inside_of_boxes_in_the_frames_that_are_listed(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", "")  # which must tell frames with boxes from those without
    cam.run(values, project, CPU)
    whole = {frame: project.load_maps(frame)[1] for frame in ("drive_000000", "drive_000002")}
    box = np.array([[8, 16, 32, 40, 3, 1.0]])  # of the third class, in cells of 8 pixels: columns 1-3, rows 2-4
    lake = np.array([[0, 0, 9, 9, 2, 1.0]])
    listed = {"drive_000000": FrameBoxes(64, 48, np.vstack([box, lake])), "driv_000002": FrameBoxes(64, 48, box)}
    project.save_boxes(listed, NAMES, project.limits_json)
    capsys.readouterr()
    cam.run(values, project, CPU)  # the default names a person's file
    printed = capsys.readouterr().out
    assert printed == (
        "cam: 3 frames, 3 maps by gradcam, 1 frames without any, 1 frames inside of boxes (nothing is left of 1 of "
        "their maps; 1 boxes of classes that are not labelled there change nothing; 1 more that are listed are no key "
        "frames, such as 'driv_000002.jpg'), 2 from the cache\n"
    )
    _, maps = project.load_maps("drive_000000")
    assert (maps[0] == 0).all()  # sky is there, and has no box
    expected = np.zeros_like(whole["drive_000000"][1])
    expected[2:5, 1:4] = whole["drive_000000"][1][2:5, 1:4]
    assert expected.any()
    np.testing.assert_array_equal(maps[1], expected)
    np.testing.assert_array_equal(project.load_maps("drive_000002")[1], whole["drive_000002"])


def test_boxes_that_are_named_must_be_there(project: Artifacts, values: Params) -> None:
    with pytest.raises(DataError, match=r"mine\.json: expected a JSON file \(No such file or directory\)"):
        cam.run(with_cam(values, boxes="mine.json"), project, CPU)
    project.save_boxes({}, ("sky", "tree"), project.root / "mine.json")
    cam.run(with_cam(values, boxes="mine.json"), project, CPU)  # lists no frame


def export(project: Artifacts, **image: object) -> None:
    """Boxes of one picture, as an annotation tool exports them."""
    content = {
        "images": [{"id": 7, **image}],
        "categories": [{"id": 0, "name": "surfaces", "supercategory": "none"}, {"id": 3, "name": "cement_road"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [8, 16, 24, 24]}],
    }
    project.limits_json.write_bytes(json.dumps(content).encode("utf-8-sig"))


def test_an_export_with_another_name_a_root_category_and_no_size_limits_maps_too(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    cam.run(values, project, CPU)
    whole = project.load_maps("drive_000000")[1]
    export(project, file_name="images/drive_000000_jpg.rf.0f3c9a.jpg")
    capsys.readouterr()
    cam.run(values, project, CPU)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "cam: data/labels/boxes.json: skipped categories that are no classes and have no box: 'surfaces'"
    )
    assert "1 frames inside of boxes" in lines[1]
    expected = np.zeros_like(whole)
    expected[1, 2:5, 1:4] = whole[1, 2:5, 1:4]
    np.testing.assert_array_equal(project.load_maps("drive_000000")[1], expected)


def test_an_export_of_no_key_frame_is_an_error_before_anything_is_removed(project: Artifacts, values: Params) -> None:
    cam.run(values, project, CPU)
    export(project, file_name="left-drive_000000.jpg", width=64, height=48)
    line = r"none of 1 file names matches a key frame, for instance 'left-drive_000000\.jpg'"
    with pytest.raises(DataError, match=line):
        cam.run(values, project, CPU)
    assert project.maps_path("drive_000000").is_file()


def test_maps_are_kept_inside_of_the_tiles_that_name_their_class(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", "")  # which must tell frames with tiles from those without
    cam.run(values, project, CPU)
    whole = {frame: project.load_maps(frame)[1] for frame in ("drive_000000", "drive_000002")}
    tiles = np.zeros((3, 2, 2, 3), bool)
    tiles[0, 0, :, 0] = True  # the sky is above
    tiles[0, 1, 1, 2] = True  # the road is below, at the right
    tiles[2, ..., 1] = True  # trees are everywhere
    project.save_labels([f"drive_{i:06d}" for i in range(3)], NAMES, PRESENT, tiles)
    capsys.readouterr()
    cam.run(values, project, CPU)
    line = "cam: 3 frames, 3 maps by gradcam, 1 frames without any, inside of 2 x 2 tiles\n"
    assert capsys.readouterr().out == line
    _, maps = project.load_maps("drive_000000")  # of 6 x 8 cells, so that half a tile has 1.5 x 2
    down = np.array([1, 1, 1, 2 / 3, 0, 0])[:, None]
    np.testing.assert_allclose(maps[0], whole["drive_000000"][0] * down, atol=1e-3)
    assert not maps[1][:1].any()
    np.testing.assert_array_equal(maps[1][3:, 4:], whole["drive_000000"][1][3:, 4:])
    np.testing.assert_array_equal(project.load_maps("drive_000002")[1], whole["drive_000002"])
    cam.run(values, project, CPU)
    assert capsys.readouterr().out == line.replace("\n", ", 3 from the cache\n")


def test_tiles_that_are_finer_than_cells_are_told(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = np.zeros((3, 7, 3, 3), bool)
    tiles[0, :, 0, 0] = tiles[0, 2, 1, 2] = tiles[2, :, 2, 1] = True
    project.save_labels([f"drive_{i:06d}" for i in range(3)], NAMES, PRESENT, tiles)
    cam.run(values, project, CPU)
    told = "inside of 7 x 3 tiles (finer than the cells of 3 frames, where a cell is a tile)"
    assert told in capsys.readouterr().out


def test_tiles_that_contradict_labels_are_told_before_a_model_is_loaded(project: Artifacts, values: Params) -> None:
    frames = [f"drive_{i:06d}" for i in range(3)]
    project.save_labels(frames, NAMES, PRESENT, np.zeros((3, 2, 2, 3), bool))
    lost = replace(values, clip=replace(values.clip, model="?"))
    with pytest.raises(DataError, match=r"found no class; run 'dvc repro label'"):
        cam.run(lost, project, CPU)
