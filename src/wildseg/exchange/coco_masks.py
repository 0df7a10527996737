"""Masks in COCO's JSON: one annotation a frame and class with compressed run lengths, classes as stuff.

The format is that of cocodataset.org/#format-data; of an annotation's ``segmentation`` all three forms are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.core.errors import DataError
from wildseg.core.files import load_json
from wildseg.exchange import rle
from wildseg.exchange.coco import entries, identifier, names_of_categories, shown_value, side_of
from wildseg.exchange.polygons import fill
from wildseg.exchange.regions import FrameRegions, LabelledFrame, Region, RegionFile, split

MOST_CORNERS = 1_000_000  # of the polygons of an annotation


def encode(frames: Iterable[LabelledFrame], names: Mapping[int, str], palette: np.ndarray) -> dict[str, Any]:
    """Return the content of a file.

    Args:
        frames: what it describes; pixels whose id is not in `names` have no annotation.
        names: of ids; a category's id is that of its place, from 1, since some readers take 0 for none.
        palette: (256, 3) colours by id.
    """
    places = {name: place for place, name in enumerate(names.values(), 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, frame in enumerate(frames, 1):
        height, width = frame.ids.shape
        images.append({"id": number, "file_name": frame.file, "width": width, "height": height})
        for region in split(frame.ids, names):
            mask = np.zeros((height, width), bool)
            rows, columns = region.mask.shape
            mask[region.top : region.top + rows, region.left : region.left + columns] = region.mask
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": places[region.name],
                "segmentation": {"size": [height, width], "counts": rle.to_coco(mask)}, "area": int(region.mask.sum()),
                "bbox": [region.left, region.top, columns, rows], "iscrowd": 0,
            })  # fmt: skip
    categories = [
        {"id": places[name], "name": name, "supercategory": "stuff", "isthing": 0, "color": palette[id_].tolist()}
        for id_, name in names.items()
    ]
    about = {"info": {"description": "masks exported by wildseg"}, "licenses": []}  # required by COCO's own reader
    return about | {"images": images, "categories": categories, "annotations": annotations}


def read(path: Path) -> RegionFile:
    """Read the regions of a file, in the order of its annotations.

    Raises:
        DataError: it is missing or malformed, an image occurs twice, or an annotation is of no image or category.
    """
    content = load_json(path)
    images, categories, annotations = (
        entries(path, content, key) for key in ("images", "categories", "annotations")
    )  # fmt: skip
    names = names_of_categories(path, categories)
    of_image: dict[str, list[Mapping[str, Any]]] = {}
    shapes: dict[str, tuple[str, tuple[int, int]]] = {}
    for entry in images:
        id_, file = identifier(path, entry, "id"), entry.get("file_name")
        if not isinstance(file, str) or not file or id_ in shapes:
            raise DataError(f"{path}: expected images with a file name and an id of their own, found "
                            f"{shown_value(file)} with the id {id_}")  # fmt: skip
        shapes[id_] = file, (side_of(path, entry, "height"), side_of(path, entry, "width"))
        of_image[id_] = []
    skipped: dict[str, int] = {}
    for entry in annotations:
        image, category = (identifier(path, entry, key) for key in ("image_id", "category_id"))
        if image not in shapes or category not in names:
            raise DataError(f"{path}: expected annotations of its images and categories, found image "
                            f"{shown_value(entry['image_id'])} and category "
                            f"{shown_value(entry['category_id'])}")  # fmt: skip
        if entry.get("segmentation"):
            of_image[image].append({**entry, "name": names[category]})
        else:
            skipped["boxes"] = skipped.get("boxes", 0) + 1
    frames = [
        FrameRegions(file, shape, partial(_regions, path, file, shape, of_image[id_]))
        for id_, (file, shape) in shapes.items()
    ]
    return RegionFile(tuple(frames), skipped)


def _regions(
    path: Path, file: str, shape: tuple[int, int], annotations: Sequence[Mapping[str, Any]]
) -> Iterator[Region]:
    for entry in annotations:
        try:
            mask = _mask(entry["segmentation"], shape)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{path}: expected a mask or polygons of {file!r}, {shape[1]}x{shape[0]}, in the "
                            f"annotation {shown_value(entry.get('id'))} ({error})") from error  # fmt: skip
        yield Region(str(entry["name"]), mask)


def _mask(segmentation: object, shape: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, list):
        if not all(isinstance(ring, list) and len(ring) >= 6 and len(ring) % 2 == 0 for ring in segmentation):
            raise ValueError("expected polygons of three corners or more")
        if sum(map(len, segmentation)) > 2 * MOST_CORNERS:
            raise ValueError("more corners than a person draws")
        rings = [np.array(ring, np.float64).reshape(-1, 2) for ring in segmentation]
        if not all(np.isfinite(ring).all() for ring in rings):
            raise ValueError("corners that are no numbers")
        return fill(rings, shape)
    if not isinstance(segmentation, Mapping) or not isinstance(segmentation.get("counts"), (str, list)):
        raise ValueError("expected counts")
    if list(segmentation.get("size") or shape) != list(shape):
        raise ValueError(f"the run lengths are of height and width {shown_value(segmentation.get('size'))}")
    return rle.from_coco(segmentation["counts"], shape)
