"""Boxes as COCO has them: what is written is read again, and whatever else a file may hold is told in one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wildseg.artifacts.project import Artifacts, FrameBoxes, Listing
from wildseg.core.errors import DataError

NAMES = ("lawn", "road")
BOXES = np.array([[1, 2, 11, 7, 2, 0.25], [0, 0, 40.5, 30, 1, 1.0]])


def saved(root: Path) -> Artifacts:
    artifacts = Artifacts(root)
    artifacts.save_boxes({"a_000000": FrameBoxes(40, 30, BOXES), "b": FrameBoxes(8, 9, BOXES[:0])}, NAMES)
    return artifacts


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    found = saved(tmp_path).load_boxes(NAMES)
    assert list(found) == ["a_000000", "b"]
    assert [(here.width, here.height) for here in found.values()] == [(40, 30), (8, 9)]
    assert found["a_000000"].boxes.tolist() == BOXES.tolist()
    assert found["b"].boxes.shape == (0, 6)


def test_the_file_is_what_coco_says(tmp_path: Path) -> None:
    content = json.loads(saved(tmp_path).boxes_json.read_text())
    assert content["categories"] == [{"id": 1, "name": "lawn"}, {"id": 2, "name": "road"}]
    assert content["images"][0] == {"id": 1, "file_name": "a_000000.jpg", "width": 40, "height": 30}
    assert content["annotations"][0] == {
        "id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 10, 5], "area": 50, "segmentation": [], "iscrowd": 0,
        "score": 0.25,
    }  # fmt: skip
    assert content["info"]["description"]  # the API of COCO reads these two
    assert content["licenses"] == []


def test_categories_are_found_by_name_and_a_score_may_be_missing(tmp_path: Path) -> None:
    artifacts = saved(tmp_path)
    content = json.loads(artifacts.boxes_json.read_text())
    content["categories"] = [{"id": 2, "name": "lawn"}, {"id": 1, "name": "road"}]
    del content["annotations"][0]["score"]
    artifacts.boxes_json.write_text(json.dumps(content))
    assert artifacts.load_boxes(NAMES)["a_000000"].boxes[:, 4:].tolist() == [[1, 1], [2, 1]]


def at(content: Any, *keys: Any, value: Any) -> Any:  # noqa: ANN401
    content = copy.deepcopy(content)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return content


@pytest.mark.parametrize(
    ("keys", "value", "line"),
    [
        (("images",), {}, "'images' is none"),
        (("annotations",), [1], "'annotations' is none"),
        (("categories",), None, "'categories' is none"),
        (("images", 0, "file_name"), "../a.jpg", "without a folder; found '../a.jpg'"),
        (("images", 0, "file_name"), "..", "without a folder"),
        (("images", 0, "file_name"), 7, "without a folder; found 7"),
        (("images", 0, "id"), 2, "occurs twice"),
        (("images", 1, "file_name"), "a_000000.png", "occurs twice"),
        (("images", 0, "width"), 0, "a width of 1 to"),
        (("images", 0, "height"), 10**9, "a height of 1 to"),
        (("images", 0, "height"), True, "a whole number as 'height', found True"),
        (("categories", 0, "name"), "lwan", "found 'lwan'; did you mean 'lawn'?"),
        (("categories", 0, "name"), ["lawn"], "classes of params.yaml"),
        (("annotations", 0, "image_id"), 9, "found image 9"),
        (("annotations", 0, "category_id"), "x" * 500, "a whole number as 'category_id'"),
        (("annotations", 0, "bbox"), [1, 2, 3], "four numbers"),
        (("annotations", 0, "bbox"), [1, 2, 3, float("nan")], "four numbers"),
        (("annotations", 0, "bbox"), [1, 2, float("inf"), 3], "four numbers"),
        (("annotations", 0, "bbox"), [1, 2, "3", 3], "four numbers"),
        (("annotations", 0, "bbox"), [1, 2, -3, 3], "width and height not negative"),
        (("annotations", 0, "score"), 1.5, "'score' from 0 to 1"),
        (("annotations", 0, "score"), float("nan"), "'score' from 0 to 1"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(keys: tuple[Any, ...], value: object, line: str, tmp_path: Path) -> None:
    artifacts = saved(tmp_path)
    content = json.loads(artifacts.boxes_json.read_text())
    artifacts.boxes_json.write_text(json.dumps(at(content, *keys, value=value)))
    with pytest.raises(DataError) as caught:
        artifacts.load_boxes(NAMES)
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(artifacts.boxes_json))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


# Exports of annotation tools -----------------------------------------------------------------------------------------

FRAMES = ("drive_000024", "drive_000031", "test_drive_000024", "Fahrt 3 süd_000001", "1_2_000001", "1-2_000001")


def export(path: Path, boxes: list[list[float]], **changes: Any) -> Path:  # noqa: ANN401
    """Write boxes of lawn in drive_000024, 640x480."""
    content = {
        "images": [{"id": 1, "file_name": "drive_000024.jpg", "width": 640, "height": 480}],
        "categories": [{"id": 1, "name": "lawn"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes],
    }
    path.write_text(json.dumps(content | changes))
    return path


def limits(path: Path) -> Listing:
    return Artifacts(path.parent).load_limits(NAMES, path, FRAMES, lambda frame: (len(frame), 7))


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("drive_000024.jpg", "drive_000024"),
        ("drive_000024", "drive_000024"),
        ("images/train/drive_000024.JPEG", "drive_000024"),
        ("C:\\data\\drive_000024.png", "drive_000024"),
        ("0a1b2c3d-drive_000024.jpg", "drive_000024"),  # Label Studio
        ("abc123-drive_000024.jpg", "drive_000024"),
        ("/data/upload/3/0a1b2c3d-test_drive_000024.jpg", "test_drive_000024"),
        ("/data/local-files/?d=images%2Fdrive_000024.jpg", "drive_000024"),
        ("https://host/a/drive_000024.jpg?token=1/2", "drive_000024"),
        ("drive_000024_jpg.rf.9f0c1d2e3b4a5968778695a4b3c2d1e0.jpg", "drive_000024"),  # Roboflow
        ("drive_000024_png.rf.x7Kq2.jpg", "drive_000024"),
        ("123e4567-e89b-12d3-a456-426614174000_drive_000024.jpg", "drive_000024"),
        ("drive_000024-0a1b2c3d.jpg", "drive_000024"),
        ("0a1b2c3d-Fahrt%203%20s%C3%BCd_000001.jpg", "Fahrt 3 süd_000001"),
        ("Fahrt-3-süd_000001_jpg.rf.x7Kq2.jpg", "Fahrt 3 süd_000001"),
        ("0a1b2c3d-Fahrt_3_süd_000001.jpg", "Fahrt 3 süd_000001"),
        ("1-2_000001.jpg", "1-2_000001"),
        ("1-2-000001.jpg", None),  # of either of two
        ("left-drive_000024.jpg", None),  # of another camera, perhaps
        ("20240521-drive_000024.jpg", None),
        ("drive_000024_1.jpg", None),
        ("drive_00024.jpg", None),
        ("..", None),
    ],
)
def test_a_listed_name_means_the_key_frame_that_it_can_only_mean(name: str, frame: str | None, tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "drive_000031.jpg"}, {"id": "b", "file_name": name}]
    found = limits(export(tmp_path / "a.json", [], images=images))
    assert list(found.frames) == ["drive_000031", *([frame] if frame else [])]
    assert found.unmatched == (() if frame else (name,))
    assert (found.frames["drive_000031"].width, found.frames["drive_000031"].height) == (12, 7)  # the frame's own


def test_a_hash_without_letters_is_one_beside_others_of_its_length(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "12345678-drive_000024.jpg"}, {"id": 2, "file_name": "0a1b2c3d-drive_000031.jpg"}]
    assert list(limits(export(tmp_path / "a.json", [], images=images)).frames) == ["drive_000024", "drive_000031"]


def test_a_bare_polygon_a_text_as_id_and_a_category_by_its_name_are_understood(tmp_path: Path) -> None:
    images = [{"id": "7", "file_name": "drive_000024.jpg", "width": "640", "height": 480.0}]
    annotations = [
        {"image_id": 7, "category_id": "lawn", "bbox": [], "segmentation": [[10, 20, 40, 25, 30, 60], [5, 30, 9, 31]]},
        {"image_id": "7", "category_id": "1", "bbox": [1, 2, 3, 4], "score": None},
    ]
    found = limits(export(tmp_path / "a.json", [], images=images, annotations=annotations)).frames["drive_000024"]
    assert (found.width, found.height) == (640, 480)
    assert found.boxes.tolist() == [[5, 20, 40, 60, 1, 1], [1, 2, 4, 6, 1, 1]]


def test_categories_that_are_no_classes_are_left_out_where_no_box_is_of_them(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "surfaces", "supercategory": "none"}, {"id": 1, "name": "lawn"},
                  {"id": 2, "name": "person"}]  # fmt: skip
    images = [{"id": n, "file_name": f} for n, f in enumerate(("drive_000024.jpg", "other_000001.jpg"))]
    annotations = [{"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]},
                   {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}]  # fmt: skip
    path = export(tmp_path / "a.json", [], categories=categories, images=images, annotations=annotations)
    found = limits(path)
    assert found.notes == ("skipped categories that are no classes and have no box: 'surfaces', 'person'",)
    assert found.unmatched == ("other_000001.jpg",)
    annotations[1]["image_id"] = 0
    with pytest.raises(DataError, match="expected categories that are classes of params.yaml, found 'person'"):
        limits(export(path, [], categories=categories, images=images, annotations=annotations))


@pytest.mark.parametrize(
    ("boxes", "line"),
    [
        ([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]], "expected boxes in pixels, found normalised boxes in 2 of 2 boxes, "
         "for instance [0.1, 0.2, 0.3, 0.4] in 'drive_000024' of 640x480; multiply by its width and height"),
        ([[0.5, 0.5, 1.0, 1.0]], "found normalised boxes"),  # of the centre
        ([[0, 0, 1, 1]], "found normalised boxes"),
        ([[400, 300, 600, 460], [10, 20, 30, 40]], "found what seem to be x0, y0, x1, y1: 1 of 2 boxes exceed their "
         "image, for instance [400, 300, 600, 460] in 'drive_000024' of 640x480; subtract x0 and y0"),
        ([[0, 200, 639, 479], [5, 6, 7, 8]], "seem to be x0, y0, x1, y1"),
    ],
)  # fmt: skip
def test_boxes_that_are_not_x_y_width_height_in_pixels_are_refused(
    boxes: list[list[float]], line: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        limits(export(tmp_path / "a.json", boxes))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("boxes", "notes"),
    [
        ([[400, 300, 240, 180], [0, 0, 640.5, 481]], []),
        ([[0.5, 0.5, 0.25, 0.25], [3, 4, 50, 60]], []),  # a speck that somebody drew by mistake
        ([[10, 10, 0, 0]], []),
        ([[1, 2, 20, 30], [30, 40, 60, 55], [2, 5, 9, 9]], ["all 3 boxes lie within the first 100 x 100 pixels; are "
         "they percentages of the image?"]),
        ([[900, 600, 50, 60], [30, 40, 60, 55]], ["1 of 2 boxes exceed their image, for instance "
         "[900, 600, 50, 60] in 'drive_000024' of 640x480; is their size that of another image?"]),
    ],
)  # fmt: skip
def test_boxes_that_may_be_a_mistake_are_noted(boxes: list[list[float]], notes: list[str], tmp_path: Path) -> None:
    found = limits(export(tmp_path / "a.json", boxes))
    assert list(found.notes) == notes
    assert len(found.frames["drive_000024"].boxes) == len(boxes)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]}, "none of 2 file names matches "
         "a key frame, for instance 'a.jpg'; expected names like drive_000024.jpg"),
        ({"images": [{"id": n, "file_name": f"drive_000024_jpg.rf.{n}a.jpg"} for n in (1, 2)]}, "the image "
         "'drive_000024' occurs twice, as 'drive_000024_jpg.rf.1a.jpg' and 'drive_000024_jpg.rf.2a.jpg'; export "
         "each image once, without augmentation"),
        ({"images": [{"id": 1, "file_name": ""}]}, "expected the file name of a frame as 'file_name'"),
        ({"images": [{"id": 1, "file_name": "drive_000024.jpg", "width": 640}]}, "number as 'height', found None"),
        ({"annotations": [{"image_id": 1, "category_id": "grass", "bbox": [1, 2, 3, 4]}]}, "found image 1 and category "
         "'grass'"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "segmentation": {"counts": "a", "size": [9, 9]}}]},
         "or polygons as 'segmentation'; found None"),
        ({"categories": [{"id": 1, "name": "lawn"}, {"id": "1", "name": "road"}]}, "belongs to two categories"),
        ({"categories": ["lawn"]}, "'categories' is none"),
    ],
)  # fmt: skip
def test_an_ambiguous_export_is_refused(changes: dict, line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        limits(export(tmp_path / "a.json", [[1, 2, 3, 4]], **changes))
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a.json"))
    assert "\n" not in str(caught.value)
