"""Matches truth masks to key frames by their names, and suggests corrections of unmatched names.

A mask is named like its key frame, ``<truth folder>/[<source>/]<source>_<index:06d>.png``, or in a folder of its
source by the index alone: ``<truth folder>/<source>/<index>.png``. No other name is matched: a guess between
sources, or between numbers of frames and of masks, could silently measure against the wrong mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from wildseg.artifacts.frames import Frame
from wildseg.core.errors import DataError
from wildseg.core.names import plain

PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".gif", ".webp")
WHOLE = re.compile(r"(.+)_(\d{6,})")  # the name of a key frame: its source and its index
# Suffixes that tools append to the name of the annotated image.
ADDED = re.compile(
    r"([ ._-]*(masks?|labels?|label_?ids|gt|gtfine|seg|segmentation|annotations?|ids?|jpe?g|png|class))+$", re.I
)
LOOSE = re.compile(r"(?:(.*?)[ ._-]*)?0*(\d+)")


def find(folders: Sequence[Path], frames: Sequence[Frame]) -> dict[str, Path]:
    """Return the path of each frame's truth, where there is one, by the frame's name; earlier folders win.

    Raises:
        DataError: two files in a folder of a source have the same number, or a name is no file name.
    """
    found: dict[str, Path] = {}
    sources = {plain(frame.source): None for frame in frames}
    for folder in folders:
        loose = _names(folder)
        own = {source: _names(folder / source) for source in sources if source in loose}
        numbered = {source: _by_number(folder / source, names) for source, names in own.items()}
        for frame in frames:
            name = f"{plain(frame.name)}.png"
            if name in loose:
                path = folder / name
            elif name in own.get(frame.source, ()):
                path = folder / frame.source / name
            elif frame.index in numbered.get(frame.source, {}):
                path = folder / frame.source / numbered[frame.source][frame.index]
            else:
                continue
            found.setdefault(frame.name, path)
    return found


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _by_number(folder: Path, names: set[str]) -> dict[int, str]:
    numbers: dict[int, str] = {}
    for name in sorted(names):
        stem, dot, suffix = name.rpartition(".")
        if not dot or suffix != "png" or not stem.isascii() or not stem.isdecimal():
            continue
        if (other := numbers.setdefault(int(stem), name)) != name:
            raise DataError(f"{folder}: expected one mask a frame, found {other} and {name}; remove one of them")
    return numbers


# Unmatched masks -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnmatchedTruth:
    """Images in folders of truth that match no key frame.

    `misnamed`: not named like a frame; `elsewhere`: named like a frame that is no key frame, or of another source.
    """

    misnamed: tuple[Path, ...]
    elsewhere: tuple[Path, ...]


def find_unmatched(folders: Sequence[Path], frames: Sequence[Frame], found: Mapping[str, Path]) -> UnmatchedTruth:
    """Return the images in `folders` that are the truth of none of `frames`, except hidden files."""
    taken = set(found.values())
    sources = {frame.source for frame in frames}
    others = [path for folder in folders for path in pictures(folder) if path not in taken]
    known = {path: _is_well_named(path, folder, sources) for folder in folders for path in others
             if path.is_relative_to(folder)}  # fmt: skip
    return UnmatchedTruth(
        tuple(path for path in others if not known[path]), tuple(path for path in others if known[path])
    )


def pictures(folder: Path) -> Iterator[Path]:
    """Yield the images in a folder of truth and its subfolders, by name."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith("."):
            continue
        inner = sorted(path.iterdir()) if path.is_dir() else [path]
        yield from (one for one in inner if one.suffix.lower() in PICTURES and not one.name.startswith("."))


def _is_well_named(path: Path, folder: Path, sources: set[str]) -> bool:
    if path.suffix != ".png":
        return False
    if whole := WHOLE.fullmatch(path.stem):
        # Another source is one of another run; a known one in another case is a mistake.
        return whole[1] in sources or whole[1].casefold() not in {source.casefold() for source in sources}
    return path.parent != folder and path.stem.isascii() and path.stem.isdecimal()


def unmatched_message(misnamed: Sequence[Path], frames: Sequence[Frame], folder: Path) -> str:
    """Return a line on files that match no key frame: their number, the expected names, and the remedy."""
    first, sources = misnamed[0], sorted({frame.source for frame in frames})
    line = (
        f"{len(misnamed)} files in {folder} match no key frame; expected names such as {frames[0].name}.png, "
        f"found {first.relative_to(folder)}"
    )
    if first.suffix.lower() in (".jpg", ".jpeg", ".jfif"):
        return f"{line}; JPEG changes ids and colours at their edges, export the masks as PNG"
    if first.suffix.lower() != ".png":
        return f"{line}; save the masks as PNG"
    if first.stem.isascii() and first.stem.isdecimal():
        if len(sources) > 1:
            return (f"{line}; if these count the frames of a source from 0, put them into a folder of its name, such "
                    f"as {folder / sources[0]} or {folder / sources[1]}")  # fmt: skip
        into = quote(str(folder / sources[0]))
        move = f"mkdir {into} && mv {quote(str(folder))}/*.png {into}/"
        return f"{line}; if these count the frames of {sources[0]} from 0: {move}"
    if (better := suggest(first, frames)) is not None:
        return f"{line}, which may be {better}.png; 'wildseg truth --rename' renames all of this kind"
    return line


def suggest(path: Path, frames: Sequence[Frame]) -> str | None:
    """Return the name of the frame that a file probably belongs to, without a suffix, or None if it is ambiguous.

    Letter case, leading zeros and suffixes of tools (``_mask``, ``_labelIds``, ``.jpg``) are ignored; the name must
    contain the source.
    """
    match = LOOSE.fullmatch(ADDED.sub("", path.stem))
    if match is None or not match[1]:
        return None
    named = [source for source in {frame.source for frame in frames} if source.casefold() == match[1].casefold()]
    return f"{named[0]}_{int(match[2]):06d}" if len(named) == 1 else None
