"""Boxes of classes in COCO's format: one JSON file of images, categories and annotations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from wildseg.artifacts.folder import Project
from wildseg.core.files import save_json
from wildseg.exchange.coco import FrameBoxes, KeyFrameNames, Listing, read


class Boxes(Project):
    """data/boxes.json, computed from maps, and COCO files of other origin."""

    @property
    def boxes_json(self) -> Path:
        """The boxes computed from maps."""
        return self.data / "boxes.json"

    @property
    def limits_json(self) -> Path:
        """The user's boxes that constrain maps, which no stage ever writes."""
        return self.data / "labels" / "boxes.json"

    def save_boxes(self, found: Mapping[str, FrameBoxes], class_names: Sequence[str], path: Path | None = None) -> None:
        """Write data/boxes.json, or another file; `found` by the name of the frame, frames without a box included.

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
        about = {"info": {"description": "boxes made by wildseg"}, "licenses": []}  # required by COCO readers
        lists = {"images": images, "categories": categories, "annotations": annotations}
        save_json(path or self.boxes_json, about | lists)

    def load_boxes(self, class_names: Sequence[str], path: Path | None = None) -> dict[str, FrameBoxes]:
        """Read boxes by the name of the frame, which is the ``file_name`` without its suffix.

        Categories are matched by their names, irrespective of their ids. A listed frame without an annotation has no
        boxes; an unlisted one is not in the result.

        Raises:
            DataError: the file is missing or malformed, or names a class that is not in `class_names`.
        """
        return read(path or self.boxes_json, class_names).frames

    def load_limits(
        self, class_names: Sequence[str], path: Path, frames: Collection[str], size_of: Callable[[str], tuple[int, int]]
    ) -> Listing:
        """Read the user's boxes, as exported by annotation tools, for the listed ones of `frames`.

        Args:
            class_names: as in params.yaml.
            path: the file.
            frames: the names of all key frames.
            size_of: returns (width, height) of a key frame, where the file has no size.

        Raises:
            DataError: as above; or no file name matches a key frame, or boxes are not in pixels.
        """
        return read(path, class_names, KeyFrameNames(frames, size_of))


def _short(value: float) -> int | float:
    return int(value) if value == int(value) else round(value, 3)
