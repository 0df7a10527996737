"""Manual label tables: a list of classes in one cell, or a column of ticks per class."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from wildseg.core.errors import DataError, did_you_mean
from wildseg.core.spreadsheet import Sheet

# Logical values of spreadsheets in several languages, and common ticks, irrespective of letter case.
YES = {
    "x", "1", "true", "wahr", "vrai", "verdadero", "verdadeiro", "vero", "waar", "sant", "sand", "tosi", "prawda",
    "pravda", "igaz", "doğru", "истина", "真", "yes", "ja", "oui", "si", "sí", "sì", "sim", "tak", "да", "y", "j",
    "✓", "✔", "☑", "✅",
}  # fmt: skip
NO = {
    "", "0", "false", "falsch", "faux", "falso", "onwaar", "falskt", "falsk", "usant", "epätosi", "fałsz", "nepravda",
    "hamis", "yanlış", "ложь", "偽", "假", "no", "nein", "non", "nee", "nej", "nei", "não", "nie", "нет", "n", "-", "☐",
}  # fmt: skip
WHOLE = re.compile(r"([01])[.,]0+")  # 1.0, and 1,0 in locales with a decimal comma
INSIDE = re.compile(r"[;|\t\r\n，；、]")  # separators of classes other than the comma


def read_rows(path: Path, sheet: Sheet, class_names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (frame, present (K,) bool) of a table with the columns Frame and Labels, or Frame and one per class.

    Raises:
        DataError: a class that is not in `class_names`, a class without a column, or a cell that is no tick.
    """
    if "Labels" in sheet.columns:
        for line, cells in sheet.rows:
            if missing := [name for name in ("Frame", "Labels") if name not in cells]:
                raise DataError(
                    f"{path}, line {line}: expected {len(sheet.columns)} columns; {missing[0]!r} is missing"
                )
            wanted = _in_one_cell(path, cells, class_names, encoding_guessed=sheet.encoding_guessed)
            yield cells["Frame"], np.array([name in wanted for name in class_names], bool)
        return
    columns = _columns_of_classes(path, sheet, class_names)
    for _, cells in sheet.rows:
        # Excel drops trailing empty cells in some lines.
        ticks = [_tick(path, cells, name, cells.get(column, "")) for name, column in columns.items()]
        yield cells.get("Frame", ""), np.array(ticks, bool)


def _in_one_cell(
    path: Path, cells: Mapping[str, str], class_names: Sequence[str], *, encoding_guessed: bool
) -> list[str]:
    parts = [part.strip() for part in cells["Labels"].split(",")]
    # The name of a class may contain such a separator.
    names = [name.strip() for part in parts for name in ([part] if part in class_names else INSIDE.split(part))]
    wanted = [name for name in names if name]
    if unknown := [name for name in wanted if name not in class_names]:
        hint = (
            "; the file is not UTF-8: save it as 'CSV UTF-8'" if encoding_guessed and not unknown[0].isascii() else ""
        )
        raise DataError(f"{path}, frame {cells['Frame']!r}: expected classes of params.yaml, "
                        f"found {unknown[0]!r}{did_you_mean(unknown[0], class_names)}{hint}")  # fmt: skip
    return wanted


def _columns_of_classes(path: Path, sheet: Sheet, class_names: Sequence[str]) -> dict[str, str]:
    """Return the column of each class, irrespective of case, by which alone no two classes differ."""
    columns = {" ".join(column.split()).casefold(): column for column in sheet.columns if column != "Frame"}
    if not any(name.casefold() in columns for name in class_names):
        raise DataError(f"{path}: expected the columns Frame, Labels; 'Labels' is missing")
    if without := [name for name in class_names if name.casefold() not in columns]:
        raise DataError(f"{path}: expected a column Labels, or one for each class; {without[0]!r} has none"
                        f"{did_you_mean(without[0], columns.values())}")  # fmt: skip
    return {name: columns[name.casefold()] for name in class_names}


def _tick(path: Path, cells: Mapping[str, str], name: str, cell: str) -> bool:
    value = WHOLE.sub(r"\1", cell.strip().casefold())
    if value not in YES | NO:
        raise DataError(f"{path}, frame {cells.get('Frame', '')!r}: expected for {name} a tick (x, 1, TRUE) or none "
                        f"(empty, 0, FALSE), found {cell!r}")  # fmt: skip
    return value in YES
