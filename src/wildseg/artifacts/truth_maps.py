"""Maps from ids or colours of truth masks to classes, where ids do not follow the order of params.yaml.

A map is a file beside the masks: ``classes.json``, ``classes.csv``, or ``labelmap.txt`` as exported by CVAT. It pairs
ids or colours with names of classes, ``background`` (id 0) or ``ignore`` (id 255, not counted).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from wildseg.artifacts.truth_map_files import MAX_ID, READERS, Key, Pairs, entries
from wildseg.core.classes import BACKGROUND, IGNORE
from wildseg.core.errors import DataError, did_you_mean

UNCOUNTED = ("", "ignore", "void", "unlabeled", "unlabelled")  # names of unlabelled pixels
UNKNOWN = -1  # in a table of ids: not in the map


@dataclass(frozen=True)
class LabelMap:
    """From values of a mask to ids of classes: 0 background, 1..C classes, 255 ignore.

    Colours are packed: ``red << 16 | green << 8 | blue``.
    """

    path: Path
    ids: Mapping[int, int]
    colours: Mapping[int, int]

    @cached_property
    def id_table(self) -> np.ndarray:
        """The class ids by id in the mask, (65536,) int16; `UNKNOWN` where the map has no entry."""
        return _table(MAX_ID + 1, {IGNORE: IGNORE} | dict(self.ids))

    @cached_property
    def colour_table(self) -> np.ndarray:
        """The class ids by packed colour, (2**24,) int16; `UNKNOWN` where the map has no entry."""
        return _table(1 << 24, self.colours)


def find(folder: Path) -> Path | None:
    """Return the path of the map in a folder of masks, or None.

    Raises:
        DataError: there are several.
    """
    found = [folder / name for name in READERS if (folder / name).exists()]
    if len(found) > 1:
        raise DataError(f"{folder}: expected one map of classes, found {' and '.join(path.name for path in found)}; "
                        "keep one of them")  # fmt: skip
    return found[0] if found else None


def load(path: Path, class_names: Sequence[str]) -> LabelMap:
    """Read a map.

    Raises:
        DataError: it is no map, a name is no class of params.yaml, or an id or a colour has two classes.
    """
    meanings: dict[Key, int] = {}
    for key, written, name in entries(path):
        meaning = class_id(path, name, class_names)
        if meanings.setdefault(key, meaning) != meaning:
            raise DataError(f"{path}: {written!r} is mapped to two classes")
    return label_map(path, meanings)


def read(path: Path) -> dict[Key, str]:
    """Read which name each id or colour has; names need not be classes of params.yaml, "" is an unlabelled pixel.

    Raises:
        DataError: it is no map, or an id or a colour has two names.
    """
    names: dict[Key, str] = {}
    for key, written, name in entries(path):
        if name is not None and not isinstance(name, str):
            raise DataError(f"{path}: expected names of classes, found {name!r}")
        if plain(names.setdefault(key, name or "")) != plain(name or ""):
            raise DataError(f"{path}: {written!r} is mapped to two classes")
    return names


def label_map(path: Path, meanings: Mapping[Key, int]) -> LabelMap:
    """Return the map of these ids and colours to ids of classes; `path` is for error lines."""
    ids = {key: value for key, value in meanings.items() if isinstance(key, int)}
    colours = {packed(key): value for key, value in meanings.items() if not isinstance(key, int)}
    return LabelMap(path, ids, colours)


def packed(colour: tuple[int, int, int]) -> int:
    """Return a colour as one number: ``red << 16 | green << 8 | blue``."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def example(keys: Sequence[object], class_names: Sequence[str]) -> str:
    """Return an example of a classes.json for these ids or colours: classes in order, then ignore."""
    names = [*class_names[: len(keys)], *["ignore"] * (len(keys) - len(class_names))]
    shown = list(zip(map(str, keys), names, strict=True))[:24]
    inside = ", ".join(f"{json.dumps(key)}: {json.dumps(name, ensure_ascii=False)}" for key, name in shown)
    return "{" + inside + (", ..." if len(keys) > len(shown) else "") + "}"


def _table(size: int, meanings: Mapping[int, int]) -> np.ndarray:
    table = np.full(size, UNKNOWN, np.int16)
    table[list(meanings)] = list(meanings.values())
    return table


def class_id(path: Path, name: object, class_names: Sequence[str]) -> int:
    """Return the id that a name stands for: of a class in any letter case, of background, or of ignore.

    Raises:
        DataError: it is none of these.
    """
    if name is None:
        return IGNORE
    if isinstance(name, str):
        if plain(name) == "background":
            return BACKGROUND
        if name.strip() in class_names:
            return class_names.index(name.strip()) + 1
        if len(alike := [own for own in class_names if plain(own) == plain(name)]) == 1:
            return class_names.index(alike[0]) + 1
        if plain(name) in UNCOUNTED:
            return IGNORE
    found = dict(name) if isinstance(name, Pairs) else name
    raise DataError(f"{path}: expected classes of params.yaml, background or ignore; "
                    f"found {found!r}{did_you_mean(name, class_names)}; "
                    "map everything else to ignore")  # fmt: skip


def plain(name: str) -> str:
    """Return a name in the spelling by which names are compared: without letter case, separators alike."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())
