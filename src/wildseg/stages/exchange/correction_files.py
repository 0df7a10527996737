"""Corrected masks from files of annotation tools, as ids of key frames."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wildseg.artifacts import truth_maps
from wildseg.artifacts.truth_maps import class_id
from wildseg.core.classes import IGNORE
from wildseg.core.errors import DataError, did_you_mean
from wildseg.core.files import load_bytes
from wildseg.exchange import coco_masks, cvat, label_studio, voc
from wildseg.exchange.dataset import listed, visible
from wildseg.exchange.file_names import match_frames
from wildseg.exchange.regions import FrameRegions, RegionFile, paint
from wildseg.stages.exchange.class_matching import MaskCounts, Renames, match

Shape = tuple[int, int]


@dataclass(frozen=True)
class Corrected:
    """A corrected frame: its name, the file name in the tool's file, its ids (H, W) uint8, and disputed pixels."""

    frame: str
    file: str
    ids: np.ndarray
    overlapping: int


@dataclass
class Corrections:
    """The frames of a file, decoded one after the other, and what was left out.

    load: yields the frames; raises a DataError at its end where a name had no class. unmatched: file names that match
    no key frame. skipped: shapes that are no area, by kind. by_order: masks hold ids in the order of params.yaml, which
    no table beside them names.
    """

    number: int
    load: Callable[[], Iterator[Corrected]]
    unmatched: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    by_order: bool = False


def find(
    path: Path,
    frames: Collection[str],
    shape_of: Callable[[str], Shape],
    class_names: Sequence[str],
    maps: Sequence[str],
) -> Corrections:
    """Return the corrected masks in a file or folder.

    Args:
        path: XML of CVAT, JSON of COCO or Label Studio, a folder of masks, or one in the layout of VOC.
        frames: the names of all key frames.
        shape_of: (H, W) of one.
        class_names: of params.yaml.
        maps: lines ``NAME=CLASS``.

    Raises:
        DataError: it is none of these, nothing in it matches a key frame, or one occurs twice.
    """
    renames = Renames(maps, class_names)
    if path.is_dir() and not (path / "annotations.xml").exists():
        return _of_folder(path, frames, shape_of, class_names, renames)
    file = path / "annotations.xml" if path.is_dir() else path
    found = _read(file)
    matched = _matched(file, [one.file for one in found.frames], frames)

    def load() -> Iterator[Corrected]:
        names = _Names(file, class_names, renames)
        for one in found.frames:
            if one.file in matched:
                frame = matched[one.file]
                names.frame = one.file
                painted = paint(_sized(file, one, shape_of(frame)), names.id_of)
                yield Corrected(frame, one.file, painted.ids, painted.overlapping)
        names.check()

    unmatched = tuple(one.file for one in found.frames if one.file not in matched)
    return Corrections(len(matched), load, unmatched, found.skipped)


def _read(path: Path) -> RegionFile:
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return cvat.read(path)
    if suffix != ".json":
        what_to_do = "; unpack it first" if suffix == ".zip" else ""
        raise DataError(f"{path}: expected .xml of CVAT, .json of COCO or Label Studio, or a folder of masks; "
                        f"found {suffix or 'no suffix'!r}{what_to_do}")  # fmt: skip
    raw = load_bytes(path)
    try:
        start = raw.decode(json.detect_encoding(raw)).lstrip("\ufeff \t\r\n")[:1]
    except ValueError as error:
        raise DataError(f"{path}: expected a JSON file ({error})") from error
    return label_studio.read(path) if start == "[" else coco_masks.read(path)


def _matched(path: Path, files: Sequence[str], frames: Collection[str]) -> dict[str, str]:
    """Return the key frame of each file name that matches one."""
    if not files:
        raise DataError(f"{path}: expected masks of key frames, found no image")
    matched = match_frames(files, frames)
    if not matched:
        raise DataError(f"{path}: expected file names of key frames, such as {next(iter(frames))}.jpg; none of "
                        f"{len(files)} matches one, for instance {files[0]!r}")  # fmt: skip
    if twice := [frame for frame, times in Counter(matched.values()).items() if times > 1]:
        own = [file for file, frame in matched.items() if frame == twice[0]]
        raise DataError(f"{path}: expected each key frame once, found {twice[0]!r} as {listed(own)}")
    return matched


def _sized(path: Path, one: FrameRegions, shape: Shape) -> FrameRegions:
    if one.shape == (0, 0):  # a task of Label Studio without any region
        return FrameRegions(one.file, shape, one.regions)
    if one.shape != shape:
        raise DataError(f"{path}: expected the size of the key frame, {shape[1]}x{shape[0]}, for {one.file!r}; found "
                        f"{one.shape[1]}x{one.shape[0]}")  # fmt: skip
    return one


class _Names:
    """Ids of the names of regions; names that are no class are collected."""

    def __init__(self, path: Path, class_names: Sequence[str], renames: Renames) -> None:
        self.frame = ""
        self._path, self._class_names, self._renames = path, class_names, renames
        self._unknown: dict[str, list[str]] = {}

    def id_of(self, name: str) -> int:
        renamed = self._renames.of_names.get(truth_maps.plain(name))
        if renamed is not None:
            return renamed
        if name.strip():
            try:
                return class_id(self._path, name, self._class_names)
            except DataError:
                pass
        self._unknown.setdefault(name, []).append(self.frame)
        return IGNORE

    def check(self) -> None:
        if self._unknown:
            shown = ", ".join(f"{name!r} in {len(files)} regions of {len(set(files))} frames, first {files[0]!r}"
                              for name, files in self._unknown.items())  # fmt: skip
            raise DataError(f"{self._path}: expected classes of params.yaml, background or ignore; found {shown}"
                            f"{did_you_mean(next(iter(self._unknown)), self._class_names)}; map each by "
                            "--map NAME=CLASS")  # fmt: skip


def _of_folder(
    folder: Path,
    frames: Collection[str],
    shape_of: Callable[[str], Shape],
    class_names: Sequence[str],
    renames: Renames,
) -> Corrections:
    """Return masks in a folder, one PNG a frame, or in SegmentationClass of the layout of VOC."""
    inside = folder / voc.MASKS if (folder / voc.MASKS).is_dir() else folder
    masks = {path.name: path for path in visible(inside) if path.suffix.lower() == ".png"}
    matched = _matched(inside, list(masks), frames)
    beside = next((found for place in dict.fromkeys((inside, folder)) if (found := truth_maps.find(place))), None)
    table = truth_maps.read(beside) if beside else None
    matching = match(beside or folder, table, class_names, renames)

    def load() -> Iterator[Corrected]:
        counts = MaskCounts()
        for file, frame in matched.items():
            shape, before = shape_of(frame), counts.resampled
            ids = counts.read(masks[file], matching, shape)
            if counts.resampled > before:
                raise DataError(
                    f"{masks[file]}: expected the size of the key frame, {shape[1]}x{shape[0]}, found another"
                )
            yield Corrected(frame, file, ids, 0)
        counts.check(folder, matching)

    unmatched = tuple(file for file in masks if file not in matched)
    return Corrections(len(matched), load, unmatched, by_order=matching.label_map is None)
