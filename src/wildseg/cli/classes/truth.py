"""Truth masks under other classes: no mask is written; a classes.json beside them says what their ids mean now.

A folder with a map of its own gets the same map with the new names. Where masks hold ids in the order of params.yaml,
and that order changes, a new map names what each old id has become.
"""

from __future__ import annotations

from pathlib import Path

from wildseg.artifacts import truth_maps
from wildseg.cli.classes.change import Change
from wildseg.core.classes import BACKGROUND, IGNORE
from wildseg.core.errors import DataError
from wildseg.core.files import save_json

IMAGES = (".png",)


def stage_truth(
    root: Path, staged: Path, change: Change, folder: Path, outputs: set[Path]
) -> tuple[list[Path], list[Path]]:
    """Write the maps that a truth folder needs after a change; return (maps written, maps that they replace).

    Args:
        root: the project folder.
        staged: where new files go, under the same relative paths.
        change: of the classes.
        folder: of truths, with a folder for each source or without.
        outputs: files and folders that stages of DVC write, absolute: nothing is written there.

    Raises:
        DataError: a map is broken, or a new one would have to lie in the output of a stage.
    """
    if not folder.is_dir():
        return [], []
    written, replaced = [], []
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    uncovered = _has_masks(folder) or any(_has_masks(path) and truth_maps.find(path) is None for path in inner)
    for place in (folder, *inner):
        own = truth_maps.find(place)
        if own is not None:
            content = _translated(own, change)
        elif place == folder and uncovered and not change.keeps_ids:
            content = _by_place(change)
        else:
            continue
        if content is None:
            continue
        path = place / "classes.json"
        if any(path.resolve().is_relative_to(out) for out in outputs):
            raise DataError(
                f"{place}: its masks follow the former classes, and a stage of DVC writes this folder; copy the masks "
                f"to data/truth, or write a classes.json where they are made"
            )
        save_json(staged / path.relative_to(root), content)
        written.append(path)
        replaced += [own] if own is not None and own != path else []
    return written, replaced


def _has_masks(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGES for path in folder.iterdir())


def _translated(path: Path, change: Change) -> dict[str, str] | None:
    """Return a map with the new names; None where it names no class that changes."""
    old, names = tuple(change.old), change.names
    known = truth_maps.load(path, old)
    if all(
        names[old[value - 1]] == old[value - 1] for value in {*known.ids.values(), *known.colours.values()} - {0, 255}
    ):
        return None
    meanings = {str(key): value for key, value in known.ids.items()}
    meanings |= {f"#{key:06x}": value for key, value in known.colours.items()}
    return {key: _name(change, value) for key, value in meanings.items()}


def _by_place(change: Change) -> dict[str, str]:
    return {str(value): _name(change, value) for value in range(len(change.old) + 1)}


def _name(change: Change, value: int) -> str:
    """Return what an id of the old classes means under the new ones, as a map has it."""
    if value == BACKGROUND:
        return "background"
    name = None if value == IGNORE else change.names[tuple(change.old)[value - 1]]
    return "ignore" if name is None else name
