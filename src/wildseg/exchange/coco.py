"""Boxes in COCO's JSON: written by wildseg, or exported by annotation tools."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.core.errors import DataError, did_you_mean
from wildseg.core.files import load_json
from wildseg.core.names import is_plain
from wildseg.core.text import shorten
from wildseg.exchange.box_units import plausibility_warnings
from wildseg.exchange.file_names import match_frames

LARGEST_SIDE = 1_000_000  # pixels


@dataclass(frozen=True)
class FrameBoxes:
    """The boxes of one frame of `width` x `height` pixels.

    boxes: (m, 6) float64: x0, y0, x1, y1 in pixels, the columns x0 to x1 - 1 and the rows y0 to y1 - 1; the id of the
    class, from 1; a score in [0, 1], 1 by default.
    """

    width: int
    height: int
    boxes: np.ndarray

    def count_without(self, classes: Sequence[int]) -> int:
        """Return the number of boxes of other classes than these, indices from 0."""
        return int((~np.isin(self.boxes[:, 4], np.array(classes, int) + 1)).sum())


@dataclass(frozen=True)
class KeyFrameNames:
    """The key frames against which names of an export are matched; size_of returns (width, height) of one."""

    names: Collection[str]
    size_of: Callable[[str], tuple[int, int]]


@dataclass(frozen=True)
class Listing:
    """The contents of a file of boxes.

    frames: boxes by the name of the frame. unmatched: file names that match no key frame. notes: a line per kind of
    skipped entry or suspected mistake.
    """

    frames: dict[str, FrameBoxes]
    unmatched: tuple[str, ...]
    notes: tuple[str, ...]


def read(path: Path, class_names: Sequence[str], key_frames: KeyFrameNames | None = None) -> Listing:
    """Read boxes; categories are matched by their names, and ids may be numbers or strings.

    Args:
        path: the file.
        class_names: as in params.yaml.
        key_frames: None for a file written by wildseg, whose names are those of frames.

    Raises:
        DataError: the file is missing or malformed, a box has a category that is no class, no file name matches a
            key frame, or boxes are not in pixels.
    """
    content = load_json(path)
    images, categories, annotations = (
        entries(path, content, key) for key in ("images", "categories", "annotations")
    )  # fmt: skip
    frames, unmatched = _frames(path, images, key_frames)
    sizes = {frame: _size(path, entry, frame, key_frames) for frame, entry in frames.values()}
    of_image = {name: frame for name, (frame, _) in frames.items()}
    names = names_of_categories(path, categories)
    used: set[str] = set()
    rows: dict[str, list[tuple[float, ...]]] = {frame: [] for frame in sizes}
    for entry in annotations:
        image, category = _reference(path, entry, of_image.keys() | unmatched, names)
        if image in unmatched:
            continue
        used.add(category)
        value = _class_id(path, names[category], class_names)
        rows[of_image[image]].append((*_corners(path, entry), value, _score(path, entry)))
    found = {frame: FrameBoxes(*sizes[frame], np.array(own, np.float64).reshape(-1, 6)) for frame, own in rows.items()}
    unused = [name for id_, name in names.items() if id_ not in used and name not in class_names]
    shown = ", ".join(shown_value(name) for name in unused[:5]) + (", ..." if len(unused) > 5 else "")
    notes = [f"skipped categories that are no classes and have no box: {shown}"] if unused else []
    if key_frames is not None:
        notes += plausibility_warnings(
            path, {frame: ((here.width, here.height), here.boxes[:, :4]) for frame, here in found.items()}
        )
    return Listing(found, tuple(unmatched.values()), tuple(notes))


def entries(path: Path, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return one of the lists of a file; raises a DataError where it is none."""
    found = content.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise DataError(f"{path}: expected the format of COCO, with lists of images, categories and "
                        f"annotations; {key!r} is none")  # fmt: skip
    return found


# Images ----------------------------------------------------------------------------------------------------------


def _frames(
    path: Path, images: Sequence[Mapping[str, Any]], key_frames: KeyFrameNames | None
) -> tuple[dict[str, tuple[str, Mapping[str, Any]]], dict[str, str]]:
    """Return (frame and entry of each matched image, file names of the unmatched ones), by the image's id."""
    by_id: dict[str, Mapping[str, Any]] = {}
    for entry in images:
        if by_id.setdefault(id_ := identifier(path, entry, "id"), entry) is not entry:
            raise DataError(f"{path}: the id {shown_value(id_)} of an image occurs twice")
    files = {id_: _file_name(path, entry, any_folder=key_frames is not None) for id_, entry in by_id.items()}
    if key_frames is None:
        meant = {file: Path(file).stem for file in files.values()}
    else:
        meant = match_frames(list(files.values()), key_frames.names)
        if files and not meant:
            raise DataError(f"{path}: none of {len(files)} file names matches a key frame, for instance "
                            f"{shown_value(next(iter(files.values())))}; expected names like "
                            f"{next(iter(key_frames.names), 'drive_000000')}.jpg")  # fmt: skip
    owner: dict[str, str] = {}
    for file in (file for file in files.values() if file in meant):
        if meant[file] in owner:
            raise DataError(f"{path}: the image {meant[file]!r} occurs twice, as {shown_value(owner[meant[file]])} "
                            f"and {shown_value(file)}; export each image once, without augmentation")  # fmt: skip
        owner[meant[file]] = file
    frames = {id_: (meant[file], by_id[id_]) for id_, file in files.items() if file in meant}
    return frames, {id_: file for id_, file in files.items() if file not in meant}


def _file_name(path: Path, entry: Mapping[str, Any], *, any_folder: bool) -> str:
    name = entry.get("file_name")
    if any_folder and isinstance(name, str) and name:
        return name  # only ever matched against names of key frames, never a path
    if not isinstance(name, str) or not is_plain(name) or not is_plain(Path(name).stem):
        raise DataError(f"{path}: expected the file name of a frame as 'file_name', without a folder; "
                        f"found {shown_value(name)}")  # fmt: skip
    return name


def _size(path: Path, entry: Mapping[str, Any], frame: str, key_frames: KeyFrameNames | None) -> tuple[int, int]:
    if key_frames is not None and entry.get("width") is None and entry.get("height") is None:
        return key_frames.size_of(frame)
    return side_of(path, entry, "width"), side_of(path, entry, "height")


def side_of(path: Path, entry: Mapping[str, Any], key: str) -> int:
    """Return the width or height of an image, by its key; raises a DataError where it is no number of pixels."""
    text = identifier(path, entry, key)
    value = int(text) if text.isdecimal() and len(text) < 10 else 0
    if not 0 < value <= LARGEST_SIDE:
        raise DataError(f"{path}: expected a {key} of 1 to {LARGEST_SIDE} pixels, found {shown_value(entry[key])}")
    return value


# Categories ------------------------------------------------------------------------------------------------------


def names_of_categories(path: Path, categories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the names of categories by id; raises a DataError where an id has two."""
    names: dict[str, Any] = {}
    for entry in categories:
        id_, name = identifier(path, entry, "id"), entry.get("name")
        if names.setdefault(id_, name) != name:
            raise DataError(f"{path}: the id {shown_value(id_)} belongs to two categories, "
                            f"{shown_value(names[id_])} and {shown_value(name)}")  # fmt: skip
    return names


def _class_id(path: Path, name: object, class_names: Sequence[str]) -> int:
    if not isinstance(name, str) or name not in class_names:
        raise DataError(f"{path}: expected categories that are classes of params.yaml, found {shown_value(name)}"
                        f"{did_you_mean(name, class_names)}")  # fmt: skip
    return list(class_names).index(name) + 1


# Annotations -----------------------------------------------------------------------------------------------------


def _reference(
    path: Path, entry: Mapping[str, Any], images: Collection[str], names: Mapping[str, Any]
) -> tuple[str, str]:
    """Return the ids of an annotation's image and category; the latter may also be a name."""
    image, category = (identifier(path, entry, key) for key in ("image_id", "category_id"))
    if category not in names:
        category = next((id_ for id_, name in names.items() if name == category), category)
    if image not in images or category not in names:
        raise DataError(f"{path}: expected annotations of its images and categories, found image "
                        f"{shown_value(entry['image_id'])} and category "
                        f"{shown_value(entry['category_id'])}")  # fmt: skip
    return image, category


def _corners(path: Path, entry: Mapping[str, Any]) -> tuple[float, float, float, float]:
    what = "a 'bbox' of four numbers of pixels, x, y, width and height"
    box = entry.get("bbox") or _bounding_box(entry.get("segmentation"))
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(
            f"{path}: expected {what}, or polygons as 'segmentation'; found {shown_value(entry.get('bbox'))}"
        )
    x, y, width, height = (_number(path, value, what) for value in box)
    if width < 0 or height < 0:
        raise DataError(f"{path}: expected {what}, width and height not negative; found {shown_value(box)}")
    return x, y, x + width, y + height


def _bounding_box(polygons: object) -> list[float] | None:
    """Return the bounding box of polygons ``[[x, y, x, y, ...], ...]``; None for other segmentations (run lengths)."""
    if not isinstance(polygons, list) or not all(isinstance(one, list) and len(one) % 2 == 0 for one in polygons):
        return None
    values = [value for one in polygons for value in one]
    if not values or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        return None
    x, y = ([value for one in polygons for value in one[start::2]] for start in (0, 1))
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _score(path: Path, entry: Mapping[str, Any]) -> float:
    given = entry.get("score")
    score = _number(path, 1.0 if given is None else given, "a 'score' from 0 to 1")
    if not 0 <= score <= 1 or math.isnan(score):
        raise DataError(f"{path}: expected a 'score' from 0 to 1, found {shown_value(score)}")
    return score


# Values ----------------------------------------------------------------------------------------------------------


def identifier(path: Path, entry: Mapping[str, Any], key: str) -> str:
    """Return an id as a string, so that 3, 3.0 and "3" are equal.

    Raises:
        DataError: it is none.
    """
    value = entry.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "" or len(str(value)) > 100:
        raise DataError(f"{path}: expected a whole number as {key!r}, found {shown_value(value)}")
    return str(value)


def _number(path: Path, value: object, what: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) <= 10 * LARGEST_SIDE:
        raise DataError(f"{path}: expected {what}, found {shown_value(value)}")  # NaN compares with nothing
    return float(value)


def shown_value(value: object) -> str:
    """Return a value of a file as an error line shows it."""
    return shorten(repr(value), 80)
