"""Boxes as COCO has them: what is written is read again, and whatever else a file may hold is told in one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wildseg.artifacts import Artifacts, FrameBoxes
from wildseg.errors import DataError

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
        (("images", 0, "file_name"), "../a.jpg", "without any folder; found '../a.jpg'"),
        (("images", 0, "file_name"), "..", "without any folder"),
        (("images", 0, "file_name"), 7, "without any folder; found 7"),
        (("images", 0, "id"), 2, "stands there twice"),
        (("images", 1, "file_name"), "a_000000.png", "stands there twice"),
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
        (("annotations", 0, "bbox"), [1, 2, -3, 3], "none of the latter negative"),
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
