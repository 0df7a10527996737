"""Videos with masks of some of their frames: ``drive.mp4`` and ``drive/truth/000123.png``, frames counted from 0."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from wildseg.core.errors import DataError
from wildseg.exchange.dataset import Video, folder_named, listed, visible

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mts", ".ts", ".mxf", ".wmv")
OF_MASKS = ("truth", "masks", "labels", "gt", "annotations")
NUMBER = re.compile(r"(?:.*[^0-9])?([0-9]{1,9})")


def find(folder: Path, masks: str | None = None) -> list[Video]:
    """Return the videos that lie directly in a folder, in the order of names, each with the masks of its frames.

    Args:
        folder: of the data set.
        masks: the folder inside `folder` that holds a folder of masks a video; None takes ``<video>/truth``,
            ``<video>/masks`` and the like, ``<video>`` itself, or ``truth/<video>``.

    Raises:
        DataError: a name of a mask ends in no number, two end in the same one, or two videos would share their masks.
    """
    videos = [path for path in visible(folder) if path.suffix.lower() in VIDEOS and not path.is_dir()]
    found = [Video(path.stem, path, _masks(_folder(folder, path.stem, masks))) for path in videos]
    of_stems: dict[str, Path] = {}
    for video in found:
        if video.masks and (other := of_stems.setdefault(video.name, video.path)) != video.path:
            raise DataError(f"{next(iter(video.masks.values())).parent}: expected masks of one video, found "
                            f"{other.name} and {video.path.name}; rename one, and the folder of its masks")  # fmt: skip
    return found


def without_masks(folder: Path, videos: Sequence[Video]) -> DataError:
    """Return what is wrong with videos of which none has a mask."""
    return DataError(f"{folder}: expected masks of frames of {listed([video.path.name for video in videos])} in "
                     f"{videos[0].name}/truth, such as 000123.png, found none; a video without masks needs no import: "
                     "name it by extract.source; where photos are meant, name their folder by --photos")  # fmt: skip


def _folder(folder: Path, name: str, masks: str | None) -> Path:
    if masks is not None:
        return folder / masks / name
    own = folder / name
    above = folder_named(folder, OF_MASKS)
    return folder_named(own, OF_MASKS) or (own if own.is_dir() or above is None else above / name)


def _masks(folder: Path) -> dict[int, Path]:
    masks: dict[int, Path] = {}
    for path in visible(folder):
        if path.suffix.lower() != ".png":
            continue
        number = NUMBER.fullmatch(path.stem)
        if number is None:
            raise DataError(f"{path}: expected a name that ends in the number of a frame, such as 000123.png; where "
                            "photos are meant, name their folder by --photos")  # fmt: skip
        if (other := masks.setdefault(int(number[1]), path)) != path:
            raise DataError(f"{folder}: expected one mask a frame, found {other.name} and {path.name}")
    return dict(sorted(masks.items()))
