"""Maps from ids or colours of truth masks to classes, where ids do not follow the order of params.yaml.

A map is a file beside the masks: ``classes.json``, ``classes.csv``, or ``labelmap.txt`` as exported by CVAT. It pairs
ids or colours with names of classes, ``background`` (id 0) or ``ignore`` (id 255, not counted).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.core.classes import BACKGROUND, IGNORE
from wildseg.core.errors import DataError, did_you_mean
from wildseg.core.files import load_bytes
from wildseg.core.spreadsheet import Sheet, load_sheet

MAX_ID = 65535  # of a mask of 16 bits
UNCOUNTED = ("", "ignore", "void", "unlabeled", "unlabelled")  # names of unlabelled pixels
UNKNOWN = -1  # in a table of ids: not in the map
NAMES = ("name", "class", "label", "class_name", "label_name")
IDS = ("id", "value", "index", "class_id", "label_id", "pixel value", "pixel_value", "idx")
COLOURS = ("colour", "color", "rgb", "color_rgb", "colour_rgb", "hex")
CHANNELS = (("r", "g", "b"), ("red", "green", "blue"))
FORMS = """{"0": "sky", "1": "ignore"}, {"#4682b4": "sky"} or {"sky": [70, 130, 180]}"""

WRAPPED = ("categories", "id2label", "classes", "labels")  # keys of the map in exports with other contents

EXPECTED = "expected the columns id,name or colour,name or name,r,g,b"

HEXADECIMAL = re.compile(r"(?:#|0x)([0-9a-fA-F]{6})")

Key = int | tuple[int, int, int]  # an id, or a colour: red, green, blue in 0..255
Pair = tuple[object, object]  # an id or a colour as in the file, and a name


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
    for written, name in READERS[path.name](path):
        key = _key(written)
        if key is None:
            found = dict(written) if isinstance(written, _Pairs) else written
            raise DataError(f"{path}: expected an id from 0 to {MAX_ID}, or a colour such as #4682b4 or 70,130,180; "
                            f"found {found!r}")  # fmt: skip
        meaning = _class_id(path, name, class_names)
        if meanings.setdefault(key, meaning) != meaning:
            raise DataError(f"{path}: {written!r} is mapped to two classes")
    if not meanings:
        raise DataError(f"{path}: expected ids or colours and the classes that they mean, found none; {FORMS}")
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


def _class_id(path: Path, name: object, class_names: Sequence[str]) -> int:
    if name is None:
        return IGNORE
    if isinstance(name, str):
        if _plain(name) == "background":
            return BACKGROUND
        if name.strip() in class_names:
            return class_names.index(name.strip()) + 1
        if len(alike := [own for own in class_names if _plain(own) == _plain(name)]) == 1:
            return class_names.index(alike[0]) + 1
        if _plain(name) in UNCOUNTED:
            return IGNORE
    found = dict(name) if isinstance(name, _Pairs) else name
    raise DataError(f"{path}: expected classes of params.yaml, background or ignore; "
                    f"found {found!r}{did_you_mean(name, class_names)}; "
                    "map everything else to ignore")  # fmt: skip


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def _key(written: object) -> Key | None:
    """Parse an id or a colour; None for neither."""
    if isinstance(written, str):
        text = written.strip()
        if hexadecimal := HEXADECIMAL.fullmatch(text):
            value = int(hexadecimal[1], 16)
            return value >> 16, value >> 8 & 255, value & 255
        if text.isascii() and text.isdecimal() and len(text) <= 6:
            return _key(int(text))
        text = text.lower().removeprefix("rgb").strip("()[] ")
        parts = text.split(",") if "," in text else text.split()
        return _key([int(part) if part.strip().isdecimal() else part for part in parts]) if len(parts) == 3 else None
    if isinstance(written, int) and not isinstance(written, bool):
        return written if 0 <= written <= MAX_ID else None
    if not isinstance(written, (list, tuple)) or len(written) != 3:
        return None
    whole = all(isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= 255 for part in written)
    return (written[0], written[1], written[2]) if whole else None


# Files ---------------------------------------------------------------------------------------------------------------


def _of_json(path: Path) -> Iterator[Pair]:
    """Yield from ``{"<id or colour>": "<name>"}``, ``{"<name>": <id or colour>}`` or ``["<name of id 0>", ...]``.

    Also from exports that contain one: the categories of COCO, with or without colours, and ``id2label``.
    """
    raw = load_bytes(path)
    try:
        content = json.loads(raw.decode(json.detect_encoding(raw)), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a JSON file ({error})") from error
    if isinstance(content, _Pairs):
        content = next((value for key, value in content if key in WRAPPED and isinstance(value, list)), content)
    if isinstance(content, _Pairs):
        by_key = all(value is None or isinstance(value, str) for _, value in content)
        keys, values = (any(_key(pair[side]) is not None for pair in content) for side in (0, 1))
        if by_key and (keys or not values):
            yield from content
        else:
            yield from ((one, name) for name, value in content for one in _several(value))
    elif isinstance(content, list) and content and all(isinstance(entry, _Pairs) for entry in content):
        yield from _of_categories(path, list(map(dict, content)))
    elif isinstance(content, list):
        yield from enumerate(content)
    else:
        raise DataError(f"{path}: expected ids or colours and class names, such as {FORMS}; found {content!r}")


def _of_categories(path: Path, entries: Sequence[dict[str, Any]]) -> Iterator[Pair]:
    """Yield from ``[{"id": 1, "name": "sky", "color": [70, 130, 180]}, ...]``; both ids and colors, if present."""
    for entry in entries:
        keys = [entry[key] for key in ("id", "color", "colour") if key in entry]
        if not keys or "name" not in entry:
            raise DataError(f"{path}: expected of each category an id or a color, and a name; found {entry!r}")
        yield from ((key, entry["name"]) for key in keys)


def _several(value: object) -> Sequence[object]:
    # Three numbers are a colour; any other list holds several ids or colours of one class.
    several = isinstance(value, list) and not (len(value) == 3 and all(isinstance(one, int) for one in value))
    return value if several and isinstance(value, list) and not isinstance(value, _Pairs) else [value]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all of its keys, duplicates included."""


def _of_csv(path: Path) -> Iterator[Pair]:
    """Yield from a table with a column of names, and one of ids or of colours, or one each for red, green and blue."""
    name, sheet = _sheet(path)
    key = next((column for column in (*IDS, *COLOURS) if column in sheet.columns), None)
    channels = next((three for three in CHANNELS if set(three) <= set(sheet.columns)), None)
    if key is None and channels is None:
        raise DataError(f"{path}: {EXPECTED}; found {', '.join(sheet.columns)}")
    for line, cells in sheet.rows:
        wanted = (name, *((key,) if key else channels or ()))
        if missing := [column for column in wanted if column not in cells]:
            raise DataError(f"{path}, line {line}: expected a cell in each of the columns {', '.join(wanted)}; "
                            f"{missing[0]!r} is missing")  # fmt: skip
        yield ",".join(cells[column] for column in wanted[1:]), cells[name]


def _sheet(path: Path) -> tuple[str, Sheet]:
    """Return (the column of names, the table)."""
    others = (*IDS, *COLOURS, *(channel for three in CHANNELS for channel in three))
    for name in NAMES:
        try:
            return name, load_sheet(path, name, *others)
        except DataError as error:
            reason = str(error).rpartition("; ")[2] if "expected a CSV file with the columns" in str(error) else None
            if reason is None:  # no table at all
                raise
    raise DataError(f"{path}: {EXPECTED}; {reason}")


def _of_cvat(path: Path) -> Iterator[Pair]:
    """Yield from lines ``name:red,green,blue:parts:actions``; # begins a comment."""
    try:
        lines = load_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8 ({error})") from error
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            name, colon, rest = line.partition(":")
            if not colon:
                raise DataError(f"{path}: expected lines such as 'sky:70,130,180::', found {line!r}")
            yield rest.split(":")[0], name


READERS = {"classes.json": _of_json, "classes.csv": _of_csv, "labelmap.txt": _of_cvat}
