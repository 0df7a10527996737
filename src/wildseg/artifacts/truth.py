"""Truth: the user's ground-truth masks, which no stage ever writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from wildseg.artifacts import truth_maps, truth_masks, truth_names
from wildseg.artifacts.folder import Project
from wildseg.artifacts.frames import Frame
from wildseg.artifacts.truth_masks import TruthMask
from wildseg.core.errors import DataError

# With so many masks or classes, masks with all classes but the last are no coincidence. Where more classes are missing,
# both must be so many, and this share of the ids below the last one be present.
MIN_COUNT = 4
MIN_SHARE = 0.7
# Ids are suspect if raising them by one improves the mIoU of the pseudo masks by so much, and at least doubles it.
MIN_GAIN = 0.1


class Truth(Project):
    """data/truth, and folders beside the videos."""

    def __init__(self, root: Path | str = ".") -> None:
        """Begin with data/truth alone; a stage may append to `truth_folders`."""
        super().__init__(root)
        self.truth_folders = [self.data / "truth"]

    def find_truth(self, frames: Sequence[Frame]) -> dict[str, Path]:
        """Return the path of each frame's truth, where there is one, by the frame's name; see `truth_names`.

        The truth folders are data/truth and those that a stage appended to `truth_folders`.

        Raises:
            DataError: two files are of the same frame.
        """
        return truth_names.find(self.truth_folders, frames)

    def truth_path(self, frame: Frame) -> Path | None:
        """Return the path of one frame's truth, or None."""
        return self.find_truth([frame]).get(frame.name)

    def read_truth(self, path: Path, class_names: Sequence[str], shape: tuple[int, int]) -> TruthMask:
        """Read a truth as ids of the size (H, W) of its frame, by the map of classes beside it, if any.

        Raises:
            DataError: it, or the map, is invalid; see `truth_masks.load`.
        """
        return truth_masks.load(path, self._map_beside(path, class_names), class_names, shape)

    def load_truth(self, frame: Frame, class_names: Sequence[str], shape: tuple[int, int]) -> np.ndarray | None:
        """Read the truth of a frame, (H, W) uint8 ids, or None where there is none; raises as `read_truth` does."""
        path = self.truth_path(frame)
        return None if path is None else self.read_truth(path, class_names, shape).ids

    def maps_of_truth(self, paths: Iterable[Path]) -> list[Path]:
        """Return the maps of classes that apply to truths, in order."""
        return sorted({found for path in paths if (found := self._map_of(path)) is not None})

    def _map_of(self, path: Path) -> Path | None:
        # The map in the mask's own folder wins, which may be that of a source.
        found = truth_maps.find(path.parent)
        return truth_maps.find(path.parent.parent) if not found and path.parent.parent in self.truth_folders else found

    def _map_beside(self, path: Path, class_names: Sequence[str]) -> truth_maps.LabelMap | None:
        found = self._map_of(path)
        return None if found is None else _map(found, found.stat().st_mtime_ns, tuple(class_names))


@lru_cache(maxsize=4)
def _map(path: Path, changed: int, class_names: tuple[str, ...]) -> truth_maps.LabelMap:
    del changed  # a changed file is read again
    return truth_maps.load(path, class_names)


@dataclass
class TruthStats:
    """The contents of truths: masks without a map, their pixels by id, (256,), and the number of resampled masks."""

    masks: int = 0
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    resampled: int = 0

    def add(self, mask: TruthMask) -> None:
        """Count one truth."""
        self.resampled += mask.stored != mask.ids.shape
        if not mask.mapped:
            self.masks += 1
            self.pixels += np.bincount(mask.ids.ravel(), minlength=256)


def check_id_offset(
    pixels: np.ndarray, masks: int, class_names: Sequence[str], folder: Path, *, background: bool
) -> str | None:
    """Check whether ids of masks without a map start at 0 for the first class, although 0 means background.

    Args:
        pixels: (256,) pixels by id over those masks.
        masks: their number.
        class_names: C names, of the ids 1..C.
        folder: of the map to write.
        background: whether a pixel may belong to no class.

    Returns:
        A line on a doubtful case, or None.

    Raises:
        DataError: they probably do, or there is an id 0 where no pixel may be background.
    """
    last = len(class_names)
    if masks and pixels.any() and not pixels[1 : last + 1].any():
        what = " and ".join(str(value) for value in (0, 255) if pixels[value])
        raise DataError(
            f"{masks} masks in {folder} hold {what} alone, which is no class: 0 means background, 255 is not counted; "
            f"if they are of one class each (0 and 255), export one mask a frame with all classes, 1 to {last}"
        )
    found = np.flatnonzero(pixels[: last + 1]).tolist()
    if not masks or 0 not in found or (background and last in found):
        return None
    what = f"{masks} masks in {folder} hold the ids {_ranges(found)}, and there are {last} classes"
    write = f"write {folder / 'classes.json'}"
    remedy = f"if the first class has the id 0, {write}: {_map_text(class_names, 0)}"
    if not background:
        what += f", of ids 1 to {last}, and no background, which is what id 0 means, since 'background' is []"
        if last in found:  # 0 or C may stand for unlabelled pixels
            behind = f"if the first class has the id 0, and {last} shall not count"
            raise DataError(f"{what}; if 0 shall not count, {write}: {_map_text(class_names, 1)}; "
                            f"{behind}: {_map_text([*class_names, 'ignore'], 0)}")  # fmt: skip
        raise DataError(f"{what}; ids seem to start at 0; {remedy}; if 0 shall not count: {_map_text(class_names, 1)}")
    whole = len(found) == last and (masks >= MIN_COUNT or last >= MIN_COUNT)
    most = last - 1 in found and len(found) >= MIN_SHARE * last and masks >= MIN_COUNT and last >= MIN_COUNT
    if whole or most:
        raise DataError(f"{what}, of ids 1 to {last}, and 0 for background; ids seem to start at 0, since none is "
                        f"{last}; {remedy}; if 0 is background: {_map_text(class_names, 1, 'background')}")  # fmt: skip
    if last - 1 in found:
        return f"{what}: none shows the last class, {class_names[-1]!r}; {remedy}"
    return None


def id_offset_warning(as_is: float, one_higher: float, class_names: Sequence[str], folder: Path) -> str | None:
    """Return a line if pseudo masks agree far better with truths whose ids are all raised by one, else None.

    Ids from 0 whose last one means "unlabelled" are as many as the classes and background, and pass `check_id_offset`;
    see `wildseg.metrics.confusion.raise_truth_ids`.

    Args:
        as_is: mIoU of the pseudo masks.
        one_higher: the same with raised ids.
        class_names: C names, of the ids 1..C.
        folder: of the map to write.
    """
    if not one_higher - as_is > MIN_GAIN or one_higher < 2 * as_is:  # neither is true of NaN
        return None
    return (
        f"the pseudo masks' mIoU is {as_is:.3f}, and would be {one_higher:.3f} if each id in the masks of {folder} "
        f"were one higher: ids seem to start at 0; if so, write {folder / 'classes.json'}: "
        f"{_map_text(class_names, 0)}, with the ids that are no class as ignore"
    )


def _map_text(class_names: Sequence[str], first: int, zero: str = "ignore") -> str:
    names = {str(first + index): name for index, name in enumerate(class_names)}
    return json.dumps(({"0": zero} if first else {}) | names, ensure_ascii=False)


def _ranges(ids: Sequence[int]) -> str:
    """Return ids as ranges: ``0 to 3, 7``."""
    starts = [one for one in ids if one - 1 not in ids]
    ends = [one for one in ids if one + 1 not in ids]
    parts = [str(start) if start == end else f"{start} to {end}" for start, end in zip(starts, ends, strict=True)]
    return ", ".join(parts)
