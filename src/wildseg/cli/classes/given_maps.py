"""Maps that another model wrote, under other classes: arrays and pictures have the names of classes.

Of classes that become one the maps become one, too: their maximum, pixel by pixel, as in data/cams.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wildseg.cli.classes.change import Change
from wildseg.core.arrays import array_names, load_arrays
from wildseg.core.errors import DataError
from wildseg.core.files import load_bytes, save_bytes
from wildseg.core.images import encode_png, load_grey_levels
from wildseg.core.progress import track

Parts = Mapping[str, Sequence[str]]  # by name after the change: the names before


def stage_given(root: Path, staged: Path, change: Change, folder: Path) -> tuple[int, list[str]]:
    """Write the maps of `folder` that name a class that changes; return of how many frames, and the files that go.

    Args:
        root: the project folder, to which files that go are relative.
        staged: where new files go, under the same relative paths.
        change: of the classes.
        folder: of maps, as `wildseg.cam.given_maps.GivenMaps` reads it; it need not be there.

    Raises:
        DataError: a map is of a class that becomes several, or takes a name that is there, two that become one do not
            fit together, a file is broken, or the folder lies outside of the project.
    """
    found = {path: _names(path) for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    changed = {path: parts for path, names in found.items() if (parts := _parts(path, names, change)) is not None}
    undefined = [name for name, better in change.names.items() if better is None]
    if named := [path for path in changed if set(found[path]) & set(undefined)]:
        raise DataError(f"{folder}: {len(named)} frames, the first is {named[0].stem!r}, have maps of the class "
                        f"{undefined[0]!r}, and '{change.what}' does not say which part; remove these maps, and write "
                        "those of the parts after the split")  # fmt: skip
    if not changed:
        return 0, []
    place = _place(root, folder)
    if place is None:
        raise DataError(f"{folder}: {len(changed)} frames have maps of classes that change, outside of the project; "
                        "copy the folder into it, and name the copy by cam.options.given.path")  # fmt: skip
    gone: list[str] = []
    for path, parts in track(changed.items(), len(changed), "given maps"):
        if path.is_dir():
            _write_pictures(path, staged / place / path.name, parts)
            gone += [str(place / path.name / f"{name}.png") for name in found[path] if name not in parts]
        else:
            _write_archive(path, staged / place / path.name, parts)
    return len(changed), gone


def _place(root: Path, folder: Path) -> Path | None:
    """Return where a folder lies in the project, relative to it, be it a link to another disk; None outside of it."""
    whole, project = (Path(os.path.normpath(one.absolute())) for one in (folder, root))
    return whole.relative_to(project) if whole.is_relative_to(project) else None


def _names(path: Path) -> list[str]:
    """Return the names of the maps in the archive or the folder of a frame; none of any other file."""
    if path.is_dir():
        return sorted(picture.stem for picture in path.glob("*.png"))
    return array_names(path) if path.suffix == ".npz" else []


def _parts(path: Path, names: Sequence[str], change: Change) -> Parts | None:
    """Return what maps there will be, and of which; None where no name changes."""
    if all(change.names.get(name, name) == name for name in names):
        return None
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(change.names.get(name, name) or name, []).append(name)
    for name, own in parts.items():
        if len(own) > 1 and any(one not in change.names for one in own):
            raise DataError(f"{path}: expected no map of {name!r} before '{change.what}', found one; remove it")
    return parts


def _write_archive(path: Path, target: Path, parts: Parts) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:  # np.savez refuses a class called "file"
        for name, own in parts.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                array = _largest(path, own, load_arrays(path, *own))
                np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
    save_bytes(target, content.getvalue())


def _write_pictures(folder: Path, target: Path, parts: Parts) -> None:
    for name, own in parts.items():
        paths = [folder / f"{one}.png" for one in own]
        if own == [name]:
            continue
        if len(own) == 1:
            content = load_bytes(paths[0])
        else:
            content = encode_png(Image.fromarray(_largest(folder, own, [load_grey_levels(one) for one in paths])))
        save_bytes(target / f"{name}.png", content)


def _largest(path: Path, names: Sequence[str], maps: Sequence[np.ndarray]) -> np.ndarray:
    first = maps[0]
    if any((one.shape, one.dtype) != (first.shape, first.dtype) for one in maps):
        raise DataError(f"{path}: expected maps of one size and type, which become one, found others among "
                        f"{', '.join(names)}")  # fmt: skip
    return np.maximum.reduce(maps)
