"""Boxes of classes as COCO has them: one JSON file of images, categories and annotations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.errors import DataError, did_you_mean
from wildseg.files import load_json, save_json
from wildseg.formats.names import is_plain
from wildseg.formats.project import Project

LARGEST_SIDE = 1_000_000  # pixels


@dataclass(frozen=True)
class FrameBoxes:
    """The boxes of one frame of `width` x `height` pixels.

    boxes: (m, 6) float64: x0, y0, x1, y1 in pixels, the columns x0 to x1 - 1 and the rows y0 to y1 - 1; the id of the
    class, from 1; a score in [0, 1], which is 1 where none was given.
    """

    width: int
    height: int
    boxes: np.ndarray


class Boxes(Project):
    """data/boxes.json, which is made from maps, and files of the same form from elsewhere."""

    @property
    def boxes_json(self) -> Path:
        """The boxes that were made from maps."""
        return self.data / "boxes.json"

    @property
    def limits_json(self) -> Path:
        """A person's boxes that maps are kept inside of, which no stage ever writes."""
        return self.data / "labels" / "boxes.json"

    def save_boxes(self, found: Mapping[str, FrameBoxes], class_names: Sequence[str], path: Path | None = None) -> None:
        """Write data/boxes.json, or another file; `found` by the name of the frame, also those without any box.

        A category's id is that of the class in label images; images are numbered from 1, ``file_name`` is
        ``<frame>.jpg``.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, (frame, here) in enumerate(found.items(), 1):
            images.append({"id": number, "file_name": f"{frame}.jpg", "width": here.width, "height": here.height})
            for x0, y0, x1, y1, value, score in here.boxes.tolist():
                box = [_short(part) for part in (x0, y0, x1 - x0, y1 - y0)]
                annotations.append({
                    "id": len(annotations) + 1, "image_id": number, "category_id": int(value), "bbox": box,
                    "area": _short((x1 - x0) * (y1 - y0)), "segmentation": [], "iscrowd": 0, "score": round(score, 6),
                })  # fmt: skip
        categories = [{"id": number, "name": name} for number, name in enumerate(class_names, 1)]
        about = {"info": {"description": "boxes made by wildseg"}, "licenses": []}  # readers of COCO ask for both
        lists = {"images": images, "categories": categories, "annotations": annotations}
        save_json(path or self.boxes_json, about | lists)

    def load_boxes(self, class_names: Sequence[str], path: Path | None = None) -> dict[str, FrameBoxes]:
        """Read boxes by the name of the frame, which is the ``file_name`` without its suffix.

        Categories are found by their names, whatever their numbers. A frame that is listed without an annotation
        has no boxes; one that is not listed is not in the result.

        Raises:
            DataError: the file is missing or malformed, or names a class that is not in `class_names`.
        """
        path = path or self.boxes_json
        content = load_json(path)
        images, categories, annotations = (_entries(path, content, key) for key in
                                           ("images", "categories", "annotations"))  # fmt: skip
        ids = {_whole(path, entry, "id"): _class_id(path, entry, class_names) for entry in categories}
        frames: dict[int, str] = {}
        sizes: dict[str, tuple[int, int]] = {}
        for entry in images:
            frame = _frame(path, entry)
            number = _whole(path, entry, "id")
            if frame in sizes or number in frames:
                raise DataError(f"{path}: the image {frame!r}, or its id {number}, stands there twice")
            frames[number] = frame
            sizes[frame] = _side(path, entry, "width"), _side(path, entry, "height")
        rows: dict[str, list[tuple[float, ...]]] = {frame: [] for frame in sizes}
        for entry in annotations:
            number, category = _whole(path, entry, "image_id"), _whole(path, entry, "category_id")
            if number not in frames or category not in ids:
                raise DataError(f"{path}: expected annotations of the images and categories in it, found image "
                                f"{number} and category {category}")  # fmt: skip
            rows[frames[number]].append((*_corners(path, entry), ids[category], _score(path, entry)))
        return {frame: FrameBoxes(*sizes[frame], np.array(rows[frame], np.float64).reshape(-1, 6)) for frame in sizes}


def _short(value: float) -> int | float:
    return int(value) if value == int(value) else round(value, 3)


def _entries(path: Path, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: expected boxes as COCO has them, with lists of images, categories and annotations; "
                        f"{key!r} is none")  # fmt: skip
    return entries


def _whole(path: Path, entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{path}: expected a whole number as {key!r}, found {_found(value)}")
    return value


def _side(path: Path, entry: Mapping[str, Any], key: str) -> int:
    value = _whole(path, entry, key)
    if not 0 < value <= LARGEST_SIDE:
        raise DataError(f"{path}: expected a {key} of 1 to {LARGEST_SIDE} pixels, found {_found(value)}")
    return value


def _number(path: Path, value: object, what: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) <= 10 * LARGEST_SIDE:
        raise DataError(f"{path}: expected {what}, found {_found(value)}")  # NaN compares with nothing
    return float(value)


def _corners(path: Path, entry: Mapping[str, Any]) -> tuple[float, float, float, float]:
    what = "a 'bbox' of four numbers of pixels, x, y, width and height"
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{path}: expected {what}, found {_found(box)}")
    x, y, width, height = (_number(path, value, what) for value in box)
    if width < 0 or height < 0:
        raise DataError(f"{path}: expected {what}, none of the latter negative; found {_found(box)}")
    return x, y, x + width, y + height


def _score(path: Path, entry: Mapping[str, Any]) -> float:
    score = _number(path, entry.get("score", 1.0), "a 'score' from 0 to 1")
    if not 0 <= score <= 1 or math.isnan(score):
        raise DataError(f"{path}: expected a 'score' from 0 to 1, found {_found(score)}")
    return score


def _class_id(path: Path, entry: Mapping[str, Any], class_names: Sequence[str]) -> int:
    name = entry.get("name")
    if not isinstance(name, str) or name not in class_names:
        raise DataError(f"{path}: expected categories that are classes of params.yaml, found {_found(name)}"
                        f"{did_you_mean(name, class_names)}")  # fmt: skip
    return list(class_names).index(name) + 1


def _frame(path: Path, entry: Mapping[str, Any]) -> str:
    name = entry.get("file_name")
    if not isinstance(name, str) or not is_plain(name) or not is_plain(Path(name).stem):
        raise DataError(f"{path}: expected the file of a frame as 'file_name', without any folder; "
                        f"found {_found(name)}")  # fmt: skip
    return Path(name).stem


def _found(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
