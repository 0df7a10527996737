"""Masks as COCO, CVAT and Label Studio have them: what is written says what it should, and comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wildseg.core.colours import palette
from wildseg.core.errors import DataError
from wildseg.exchange import coco_masks, cvat, label_studio
from wildseg.exchange.regions import FrameRegions, LabelledFrame, Region, RegionFile, paint

NAMES = {0: "background", 1: "lawn", 2: "straße <#1> & co", 3: 'a "b"'}
IDS = np.array([[255, 1, 1, 0], [255, 2, 1, 0], [3, 2, 2, 0]], np.uint8)
PALETTE = palette(list(NAMES.values())[1:])
FILES = ["drive_000000.jpg", "straße #1&2.jpg"]


def write_coco(path: Path, frames: list[LabelledFrame]) -> None:
    path.write_text(json.dumps(coco_masks.encode(iter(frames), NAMES, PALETTE)), encoding="utf-8")


def write_cvat(path: Path, frames: list[LabelledFrame]) -> None:
    path.write_text("\n".join(cvat.encode(iter(frames), NAMES, PALETTE)), encoding="utf-8")


def write_label_studio(path: Path, frames: list[LabelledFrame]) -> None:
    tasks = label_studio.tasks(iter(frames), NAMES, "/data/local-files/?d=", "wildseg")
    path.write_text(f"[{','.join(tasks)}]", encoding="utf-8")


FORMATS: dict[str, tuple[Callable[[Path, list[LabelledFrame]], None], Callable[[Path], RegionFile], str]] = {
    "coco": (write_coco, coco_masks.read, "a.json"),
    "cvat": (write_cvat, cvat.read, "a.xml"),
    "labelstudio": (write_label_studio, label_studio.read, "a.json"),
}


def id_of(name: str) -> int:
    return {name: id_ for id_, name in NAMES.items()}[name]


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=40, deadline=None)
@given(ids=arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=24),
                         elements=st.sampled_from([0, 1, 2, 3, 255])))  # fmt: skip
def test_every_pixel_has_the_id_that_it_had(
    form: str, ids: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write, read, name = FORMATS[form]
    path = tmp_path_factory.mktemp("a") / name
    write(path, [LabelledFrame(FILES[0], ids), LabelledFrame(FILES[1], ids[::-1])])
    found = read(path)
    assert [frame.file for frame in found.frames] == FILES
    assert dict(found.skipped) == {}
    for frame, expected in zip(found.frames, (ids, ids[::-1]), strict=True):
        painted = paint(frame, id_of)
        assert np.array_equal(painted.ids, expected)
        assert painted.overlapping == 0


def test_coco_holds_what_its_documentation_asks_for(tmp_path: Path) -> None:
    content = coco_masks.encode(iter([LabelledFrame(FILES[0], IDS)]), NAMES, PALETTE)
    assert content["images"] == [{"id": 1, "file_name": FILES[0], "width": 4, "height": 3}]
    assert [(one["id"], one["name"], one["supercategory"]) for one in content["categories"]] == [
        (place, name, "stuff") for place, name in enumerate(NAMES.values(), 1)
    ]
    lawn = next(one for one in content["annotations"] if one["category_id"] == 2)
    assert (lawn["image_id"], lawn["bbox"], lawn["area"], lawn["iscrowd"]) == (1, [1, 0, 2, 2], 3, 0)
    # By columns: 3 of the first, 1 lawn, 2 others, 2 lawn, 4 others.
    assert lawn["segmentation"] == {"size": [3, 4], "counts": "31212"}  # from the third on differences
    assert len(content["annotations"]) == 4  # 255 has none


def test_cvat_holds_run_lengths_of_the_rows_of_a_rectangle() -> None:
    root = ElementTree.fromstring("\n".join(cvat.encode(iter([LabelledFrame(FILES[1], IDS)]), NAMES, PALETTE)))
    image = root.find("image")
    assert image is not None
    assert image.attrib == {"id": "0", "name": FILES[1], "width": "4", "height": "3"}
    road = next(one for one in image if one.get("label") == NAMES[2])
    # The rectangle of two columns and two rows from column 1 and row 1: 2 1 / 2 2.
    assert {key: road.get(key) for key in ("left", "top", "width", "height", "rle")} == {
        "left": "1", "top": "1", "width": "2", "height": "2", "rle": "0, 1, 1, 2",
    }  # fmt: skip
    assert [label.findtext("name") for label in root.iter("label")] == list(NAMES.values())
    assert [label["name"] for label in cvat.labels(NAMES, PALETTE)] == list(NAMES.values())


def test_label_studio_has_tasks_with_predictions_and_an_interface() -> None:
    task = json.loads(next(label_studio.tasks(iter([LabelledFrame(FILES[1], IDS)]), NAMES, "/d/?d=", "wildseg")))
    assert task["data"]["image"] == "/d/?d=stra%C3%9Fe%20%231%262.jpg"
    results = task["predictions"][0]["result"]
    assert [one["value"]["brushlabels"] for one in results] == [[name] for name in NAMES.values()]
    first = results[0]
    assert (first["type"], first["original_width"], first["original_height"]) == ("brushlabels", 4, 3)
    view = ElementTree.fromstring(label_studio.interface(NAMES, PALETTE))
    brush = view.find("BrushLabels")
    assert brush is not None
    assert (brush.get("name"), brush.get("toName")) == (first["from_name"], first["to_name"])
    assert [label.get("value") for label in brush] == list(NAMES.values())


# Files of others -----------------------------------------------------------------------------------------------------


def cvat_file(path: Path, shapes: str, size: str = 'width="4" height="3"') -> Path:
    path.write_text(
        f'<annotations><version>1.1</version><image id="7" name="a.jpg" {size}>{shapes}</image></annotations>'
    )
    return path


def cvat_mask(label: str, rle: str, left: int = 0, top: int = 0, size: tuple[int, int] = (4, 3), z: int = 0) -> str:
    return (f'<mask label="{label}" rle="{rle}" left="{left}" top="{top}" width="{size[0]}" height="{size[1]}" '
            f'z_order="{z}"></mask>')  # fmt: skip


def test_regions_overlap_in_the_order_of_z_and_of_the_file(tmp_path: Path) -> None:
    lawn, road = cvat_mask("lawn", "0, 12", z=1), cvat_mask("road", "0, 8, 4", z=0)
    shapes = lawn + road + cvat_mask("background", "0,2,10", z=1)
    (frame,) = cvat.read(cvat_file(tmp_path / "a.xml", shapes)).frames
    painted = paint(frame, lambda name: {"lawn": 1, "background": 0}.get(name, 2))
    assert painted.ids.tolist() == [[0, 0, 1, 1], [1] * 4, [1] * 4]
    assert painted.overlapping == 8


def test_overlapping_regions_of_one_class_are_no_dispute() -> None:
    whole = Region("lawn", np.ones((2, 2), bool))
    painted = paint(FrameRegions("a", (2, 3), lambda: [whole, Region("lawn", np.ones((2, 2), bool), 0, 1)]), id_of)
    assert painted.ids.tolist() == [[1] * 3] * 2
    assert painted.overlapping == 0


def test_polygons_are_read_and_other_shapes_counted(tmp_path: Path) -> None:
    shapes = '<polygon label="lawn" points="0,0;2,0;2,2;0,2" z_order="0"/><box label="lawn"/><box/><tag/>'
    found = cvat.read(cvat_file(tmp_path / "a.xml", shapes))
    assert paint(found.frames[0], id_of).ids.tolist() == [[1, 1, 255, 255]] * 2 + [[255] * 4]
    assert dict(found.skipped) == {"boxes": 2, "tags": 1}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (cvat_mask("lawn", "0, 11"), "expected a mask of 'lawn' inside of 'a.jpg', 4x3 .expected run lengths of 12"),
        (cvat_mask("lawn", "0, 12", left=1), "it reaches from 1, 0 to 5, 3"),
        (cvat_mask("lawn", "0, x"), "invalid literal"),
        (cvat_mask("lawn", "0, 12", left=-1), "expected a number of pixels as 'left'"),
        ('<polygon label="lawn" points="0,0;1,1"/>', "three corners"),
        ('<polygon label="lawn" points="0,0;1,1;nan,2"/>', "three corners"),
    ],
)
def test_wrong_shapes_of_cvat_are_named(shapes: str, message: str, tmp_path: Path) -> None:
    (frame,) = cvat.read(cvat_file(tmp_path / "a.xml", shapes)).frames
    with pytest.raises(DataError, match=message):
        paint(frame, id_of)


def test_wrong_files_of_cvat_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a number of pixels as 'height'"):
        cvat.read(cvat_file(tmp_path / "a.xml", "", 'width="4" height="0"'))
    (tmp_path / "b.xml").write_text("<annotations><track/></annotations>")
    with pytest.raises(DataError, match="found tracks of a video"):
        cvat.read(tmp_path / "b.xml")
    (tmp_path / "b.xml").write_text("<annotation/>")
    with pytest.raises(DataError, match="found 'annotation'"):
        cvat.read(tmp_path / "b.xml")
    two = '<annotations><image name="a" width="1" height="1"/><image name="a" width="1" height="1"/></annotations>'
    (tmp_path / "b.xml").write_text(two)
    with pytest.raises(DataError, match="images with names of their own, found 'a'"):
        cvat.read(tmp_path / "b.xml")


def coco_file(path: Path, segmentation: object, **others: object) -> Path:
    content = {
        "images": [{"id": 0, "file_name": "a.jpg", "width": 4, "height": 3}], "categories": [{"id": 0, "name": "lawn"}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 0, "segmentation": segmentation}],
    }  # fmt: skip
    path.write_text(json.dumps(content | others))
    return path


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [3, 4], "counts": [3, 3, 6]},
        {"size": [3, 4], "counts": "336"},
        {"counts": [3, 3, 6]},
        [[1, 0, 2, 0, 2, 3, 1, 3]],
        [[1, 0, 2, 0, 2, 1, 1, 1], [1, 1, 2, 1, 2, 3, 1, 3]],
    ],
)
def test_all_forms_of_coco_are_read_with_ids_from_zero(segmentation: object, tmp_path: Path) -> None:
    (frame,) = coco_masks.read(coco_file(tmp_path / "a.json", segmentation)).frames
    assert paint(frame, id_of).ids.tolist() == [[255, 1, 255, 255]] * 3


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [4, 3], "counts": [3, 3, 6]}, r"of 'a.jpg', 4x3, in the annotation 0 .* height and width \[4, 3\]"),
        ({"size": [3, 4], "counts": [3, 3]}, "expected run lengths of 12 pixels, found 6"),
        ({"size": [3, 4], "counts": ["a"]}, "in the annotation 0"),
        ([[1, 2, 3, 4]], "three corners"),
        ("text", "expected counts"),
    ],
)
def test_wrong_masks_of_coco_are_named(segmentation: object, message: str, tmp_path: Path) -> None:
    (frame,) = coco_masks.read(coco_file(tmp_path / "a.json", segmentation)).frames
    with pytest.raises(DataError, match=message):
        paint(frame, id_of)


def test_annotations_of_coco_without_a_mask_are_counted(tmp_path: Path) -> None:
    assert dict(coco_masks.read(coco_file(tmp_path / "a.json", [])).skipped) == {"boxes": 1}
    with pytest.raises(DataError, match="annotations of its images and categories, found image 5 and category 0"):
        coco_masks.read(coco_file(tmp_path / "a.json", [], annotations=[{"image_id": 5, "category_id": 0}]))
    with pytest.raises(DataError, match="an id of their own"):
        coco_masks.read(coco_file(tmp_path / "a.json", [], images=[{"id": 0, "width": 1, "height": 1}]))


def task(*results: dict[str, object], **others: object) -> dict[str, object]:
    annotations = [{"result": []}, {"result": list(results)}, {"result": [{"type": "x"}], "was_cancelled": True}]
    return {"data": {"image": "/data/upload/1/9f0c1d2e-a.jpg"}, "annotations": annotations, **others}


def result(**others: object) -> dict[str, object]:
    value = {"points": [[0, 0], [50, 0], [50, 100], [0, 100]], "polygonlabels": ["lawn"]}
    own: dict[str, object] = {"id": "q", "type": "polygonlabels", "original_width": 4, "original_height": 3}
    return own | {"value": value} | others


def test_the_last_annotation_of_label_studio_counts_that_was_not_cancelled(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([task(result(), {"type": "choices"}, {"type": "keypointlabels"})]))
    found = label_studio.read(tmp_path / "a.json")
    assert found.frames[0].file == "/data/upload/1/9f0c1d2e-a.jpg"
    assert paint(found.frames[0], id_of).ids.tolist() == [[1, 1, 255, 255]] * 3
    assert dict(found.skipped) == {"keypointlabels": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": {"points": [], "polygonlabels": ["a", "b"]}}, "expected one label"),
        ({"value": {"points": [[0, 0], [1, 1]], "polygonlabels": ["a"]}}, "three corners"),
        (
            {"type": "brushlabels", "value": {"brushlabels": ["a"], "rle": [0, 0, 0, 4]}},
            "of '/data/.* in the result 'q'",
        ),
        ({"value": {}}, "in the result 'q'"),
        ({"original_width": 0}, "expected the size of"),
    ],
)
def test_wrong_results_of_label_studio_are_named(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([task(result(**changes))]))
    with pytest.raises(DataError, match=message):  # noqa: PT012
        (frame,) = label_studio.read(tmp_path / "a.json").frames
        paint(frame, id_of)


@pytest.mark.parametrize("content", ["{}", "[1]", "[{}]", '[{"data": {}}]', "", "[" * 100_000])
def test_what_is_no_export_of_label_studio_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match="a.json: expected"):
        label_studio.read(tmp_path / "a.json")
