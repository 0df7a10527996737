"""Files that give ids or colours the names of classes: JSON, tables, CVAT's labelmap.txt; each pair is an entry.

What the names mean to a project is `wildseg.artifacts.truth_maps`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wildseg.core.errors import DataError
from wildseg.core.files import load_bytes
from wildseg.core.spreadsheet import Sheet, load_sheet

MAX_ID = 65535  # of a mask of 16 bits
NAMES = ("name", "class", "label", "class_name", "label_name")
IDS = ("id", "value", "index", "class_id", "label_id", "pixel value", "pixel_value", "idx")
COLOURS = ("colour", "color", "rgb", "color_rgb", "colour_rgb", "hex")
CHANNELS = (("r", "g", "b"), ("red", "green", "blue"))
FORMS = """{"0": "sky", "1": "ignore"}, {"#4682b4": "sky"} or {"sky": [70, 130, 180]}"""

WRAPPED = ("categories", "id2label", "classes", "labels")  # keys of the map in exports with other contents

EXPECTED = "expected the columns id,name or colour,name or name,r,g,b"

HEXADECIMAL = re.compile(r"(?:#|0x)([0-9a-fA-F]{6})")

COLOUR_FIRST = re.compile(r"(\d+\s+\d+\s+\d+)\s+([^\s:].*)")  # 64 128 64  Animal

Key = int | tuple[int, int, int]  # an id, or a colour: red, green, blue in 0..255
Pair = tuple[object, object]  # an id or a colour as in the file, and a name


def entries(path: Path) -> Iterator[tuple[Key, object, object]]:
    """Yield (id or colour, the same as in the file, name) of each line of a map, at least one.

    Raises:
        DataError: it is no map, or holds none.
    """
    found = False
    for written, name in (READERS.get(path.name) or BY_SUFFIX.get(path.suffix.lower(), _of_csv))(path):
        key, found = parse_key(written), True
        if key is None:
            shown = dict(written) if isinstance(written, Pairs) else written
            raise DataError(f"{path}: expected an id from 0 to {MAX_ID}, or a colour such as #4682b4 or 70,130,180; "
                            f"found {shown!r}")  # fmt: skip
        yield key, written, name
    if not found:
        raise DataError(f"{path}: expected ids or colours and the classes that they mean, found none; {FORMS}")


def parse_key(written: object) -> Key | None:
    """Return an id or a colour as it may be written in a file; None for neither."""
    if isinstance(written, str):
        text = written.strip()
        if hexadecimal := HEXADECIMAL.fullmatch(text):
            value = int(hexadecimal[1], 16)
            return value >> 16, value >> 8 & 255, value & 255
        if text.isascii() and text.isdecimal() and len(text) <= 6:
            return parse_key(int(text))
        text = text.lower().removeprefix("rgb").strip("()[] ")
        parts = text.split(",") if "," in text else text.split()
        numbers = [int(part) if part.strip().isdecimal() else part for part in parts]
        return parse_key(numbers) if len(parts) == 3 else None
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
        content = json.loads(raw.decode(json.detect_encoding(raw)), object_pairs_hook=Pairs)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a JSON file ({error})") from error
    if isinstance(content, Pairs):
        content = next((value for key, value in content if key in WRAPPED and isinstance(value, list)), content)
    if isinstance(content, Pairs):
        by_key = all(value is None or isinstance(value, str) for _, value in content)
        keys, values = (any(parse_key(pair[side]) is not None for pair in content) for side in (0, 1))
        if by_key and (keys or not values):
            yield from content
        else:
            yield from ((one, name) for name, value in content for one in _several(value))
    elif isinstance(content, list) and content and all(isinstance(entry, Pairs) for entry in content):
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
    return value if several and isinstance(value, list) and not isinstance(value, Pairs) else [value]


class Pairs(list[tuple[str, Any]]):
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
    """Yield from lines ``name:red,green,blue:parts:actions``, or ``red green blue name``; # begins a comment."""
    try:
        lines = load_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8 ({error})") from error
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            if before := COLOUR_FIRST.fullmatch(line.strip()):
                yield before[1], before[2]
                continue
            name, colon, rest = line.partition(":")
            if not colon:
                raise DataError(f"{path}: expected lines such as 'sky:70,130,180::', found {line!r}")
            yield rest.split(":")[0], name


READERS = {"classes.json": _of_json, "classes.csv": _of_csv, "labelmap.txt": _of_cvat}
BY_SUFFIX = {".json": _of_json, ".csv": _of_csv, ".txt": _of_cvat}
