"""What there is to read: a video, or a folder of videos and photos, each under a name that is safe in file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wildseg.core.errors import DataError, SpecialFile, check_regular

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".264", ".265", ".3gp", ".asf", ".avi", ".dv", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg",
    ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
))
PHOTO_SUFFIXES = frozenset((
    ".bmp", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
))
# fmt: on
MAX_NAME_BYTES = 180  # of the 255 that a file system allows


@dataclass(frozen=True)
class Source:
    """A video (`paths` is that one file), or the photos of a folder in order."""

    name: str
    kind: Literal["video", "photos"]
    paths: tuple[Path, ...]


def find_sources(path: Path) -> list[Source]:
    """List the sources at `path`: first the photos that lie directly in it, as one source, then its videos by name.

    Numbers in file names count as numbers (``img_9`` before ``img_10``). Hidden files and files that are neither
    videos nor photos are passed over, and so are folders inside the folder.

    Raises:
        DataError: nothing is there, or nothing that could be a video or a photo.
    """
    if path.is_file():
        if path.suffix.lower() in PHOTO_SUFFIXES:
            raise DataError(f"{path}: expected a video or a folder, found one photo; name the photo's folder instead")
        return [Source(safe_name(path.stem), "video", (path,))]
    if path.exists() and not path.is_dir():
        raise DataError(f"{path}: expected a video or a folder of videos and photos, found {_special(path)}")
    if not path.is_dir():
        raise DataError(f"{path}: expected a video or a folder of videos and photos, found nothing; "
                        "check extract.source, or fetch the data with 'dvc pull'")  # fmt: skip
    files = sorted((p for p in path.iterdir() if not p.name.startswith(".") and not p.is_dir()), key=_natural)
    photos = tuple(p for p in files if p.suffix.lower() in PHOTO_SUFFIXES)
    videos = [p for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
    if not photos and not videos:
        raise DataError(f"{path}: expected videos ({_some(VIDEO_SUFFIXES, '.mp4')}) or photos "
                        f"({_some(PHOTO_SUFFIXES, '.jpg')}), found {_listing(path, files)}")  # fmt: skip
    plain = ([safe_name(path.resolve().name)] if photos else []) + [safe_name(video.stem) for video in videos]
    names = iter(unique_names(plain))
    sources = [Source(next(names), "photos", photos)] if photos else []
    return sources + [Source(next(names), "video", (video,)) for video in videos]


def ignored_files(path: Path) -> list[str]:
    """Return the names in the folder `path` that look like a mistake: a file that is no source, a folder like a photo.

    What is hidden and what DVC keeps beside its data is none.
    """
    known = PHOTO_SUFFIXES | VIDEO_SUFFIXES
    visible = [p for p in path.iterdir() if not p.name.startswith(".") and p.suffix != ".dvc"] if path.is_dir() else []
    return sorted(p.name for p in visible if p.is_dir() == (p.suffix.lower() in known))


def safe_name(text: str) -> str:
    """Return `text` with runs of anything but letters, digits, ``-`` and ``_`` replaced by one ``_``.

    It is cut so that a frame's number and a suffix still fit into the name of a file.
    """
    safe = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", text))
    return safe.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip("_") or "source"


def unique_names(names: Iterable[str]) -> list[str]:
    """Tell equal names apart: the first keeps its name, later ones get ``_2``, ``_3``, skipping names that are taken.

    Letter case does not count, because on some file systems it does not tell files apart.
    """
    names = list(names)
    reserved = {name.casefold() for name in names}
    seen: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 1
        while candidate.casefold() in seen or (number > 1 and candidate.casefold() in reserved):
            number += 1
            candidate = f"{name}_{number}"
        seen.add(candidate.casefold())
        result.append(candidate)
    return result


def _special(path: Path) -> str:
    try:
        check_regular(path)
    except SpecialFile as error:
        return str(error).removeprefix("it is ")
    return "neither"


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    pieces = re.split(r"(\d+)", path.name.casefold())
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], path.name


def _some(suffixes: frozenset[str], first: str) -> str:
    return ", ".join([first, *sorted(suffixes - {first})[:3], "..."])


def _listing(path: Path, files: list[Path]) -> str:
    if files:
        return f"{len(files)} other files such as {files[0].name!r}"
    folders = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if folders:
        return f"no files but folders such as {folders[0]!r}; name one of them"
    return "an empty folder"
