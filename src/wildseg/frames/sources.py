"""Sources of key frames: a video, a robot's recording, or a folder of these and photos, each under a safe name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
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
MCAP = ".mcap"
BAG_SUFFIXES = frozenset((MCAP, ".db3"))
BAG_METADATA = "metadata.yaml"  # of a rosbag2 folder, with this key in it
BAG_KEY = b"rosbag2_bagfile_information"
MAX_NAME_BYTES = 180  # of the 255 that a file system allows


@dataclass(frozen=True)
class Source:
    """A video (`paths` is that one file), the files of a recording in order, or the photos of a folder in order.

    topic: of a recording, the topic that is read; None where it is not chosen yet.
    """

    name: str
    kind: Literal["video", "photos", "bag"]
    paths: tuple[Path, ...]
    topic: str | None = None

    @property
    def timed(self) -> bool:
        """Whether its frames have times."""
        return self.kind != "photos"


def find_sources(path: Path) -> list[Source]:
    """List the sources at `path`: first the photos that lie directly in it, as one source, then the others by name.

    Numbers in file names count as numbers (``img_9`` before ``img_10``). Hidden files and files of other kinds are
    passed over, and so are folders inside the folder, but for those that rosbag2 wrote, each of which is one recording.

    Raises:
        DataError: nothing is there, or nothing that could be a video or a photo.
    """
    if path.is_file():
        if path.suffix.lower() in PHOTO_SUFFIXES:
            raise DataError(f"{path}: expected a video or a folder, found one photo; name the photo's folder instead")
        return [_recorded(path)]
    if path.exists() and not path.is_dir():
        raise DataError(f"{path}: expected a video or a folder of videos and photos, found {_special(path)}")
    if not path.is_dir():
        raise DataError(f"{path}: expected a video or a folder of videos and photos, found nothing; "
                        "check extract.source, or fetch the data with 'dvc pull'")  # fmt: skip
    if parts := _bag_parts(path):
        return [Source(safe_name(path.resolve().name), "bag", parts)]
    files = sorted((p for p in path.iterdir() if not p.name.startswith(".") and not p.is_dir()), key=_natural)
    photos = tuple(p for p in files if p.suffix.lower() in PHOTO_SUFFIXES)
    moving = [p for p in files if p.suffix.lower() in VIDEO_SUFFIXES | BAG_SUFFIXES]
    moving += [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".") and _bag_parts(p)]
    if not photos and not moving:
        raise DataError(f"{path}: expected videos ({_some(VIDEO_SUFFIXES, '.mp4')}) or photos "
                        f"({_some(PHOTO_SUFFIXES, '.jpg')}), found {_listing(path, files)}")  # fmt: skip
    found = [Source(safe_name(path.resolve().name), "photos", photos)] if photos else []
    found += [_recorded(p) for p in sorted(moving, key=_natural)]
    names = unique_names(source.name for source in found)
    return [replace(source, name=name) for source, name in zip(found, names, strict=True)]


def _recorded(path: Path) -> Source:
    """Return the one source that a file, or a folder that rosbag2 wrote, is."""
    if path.is_dir():
        return Source(safe_name(path.name), "bag", _bag_parts(path))
    return Source(safe_name(path.stem), "bag" if path.suffix.lower() in BAG_SUFFIXES else "video", (path,))


def _bag_parts(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder that rosbag2 wrote, in order; none of any other folder.

    Raises:
        DataError: they are packed as files.
    """
    metadata = folder / BAG_METADATA
    if not metadata.is_file() or BAG_KEY not in metadata.read_bytes()[:4096]:
        return ()
    visible = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    parts = sorted((p for p in visible if p.suffix.lower() in BAG_SUFFIXES), key=_natural)
    packed = sorted(p.name for p in visible if p.suffix == ".zstd")
    if not parts and packed:
        raise DataError(f"{folder}: expected .mcap or .db3 files, found packed ones such as {packed[0]!r}; "
                        "unpack them: zstd -d *.zstd")  # fmt: skip
    return tuple(parts)


def ignored_files(path: Path) -> list[str]:
    """Return the names in the folder `path` that look like a mistake: a file that is no source, a folder like a photo.

    What is hidden and what DVC keeps beside its data is none.
    """
    known = PHOTO_SUFFIXES | VIDEO_SUFFIXES | BAG_SUFFIXES
    if not path.is_dir() or _bag_parts(path):
        return []
    visible = [p for p in path.iterdir() if not p.name.startswith(".") and p.suffix != ".dvc"]
    return sorted(p.name for p in visible if p.is_dir() == (p.suffix.lower() in known))


def safe_name(text: str) -> str:
    """Return `text` with runs of anything but letters, digits, ``-`` and ``_`` replaced by one ``_``.

    It is cut so that a frame's number and a suffix still fit into the name of a file.
    """
    safe = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", text))
    return safe.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip("_") or "source"


def unique_names(names: Iterable[str]) -> list[str]:
    """Disambiguate equal names: the first is unchanged, later ones get ``_2``, ``_3``, skipping names that are taken.

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
