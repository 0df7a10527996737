"""Videos with masks of some of their frames: ``drive.mp4`` and ``drive/truth/000123.png``, frames counted from 0."""

from __future__ import annotations

import re
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
        DataError: a name of a mask ends in no number, two end in the same one, or no video has a mask.
    """
    videos = [path for path in visible(folder) if path.suffix.lower() in VIDEOS and not path.is_dir()]
    found = [Video(path.stem, path, _masks(_folder(folder, path.stem, masks))) for path in videos]
    if found and not any(video.masks for video in found):
        raise DataError(f"{folder}: expected masks of frames of {listed([video.path.name for video in found])} in "
                        f"{found[0].name}/truth, such as 000123.png, found none; a video without masks needs no "
                        "import: name it by extract.source")  # fmt: skip
    return found


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
            raise DataError(f"{path}: expected a name that ends in the number of a frame, such as 000123.png")
        if (other := masks.setdefault(int(number[1]), path)) != path:
            raise DataError(f"{folder}: expected one mask a frame, found {other.name} and {path.name}")
    return dict(sorted(masks.items()))
