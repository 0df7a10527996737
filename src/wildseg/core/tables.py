"""Tables that wildseg writes: CSV, UTF-8, separated by commas.

Tables that a user has edited are read by `wildseg.core.spreadsheet`, which accepts more than this.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wildseg.core.errors import DataError, check_regular
from wildseg.core.files import atomic, reason_of
from wildseg.core.spreadsheet import SEPARATORS


def save_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], *, quote_all: bool = False) -> None:
    """Write a CSV file with a header line, UTF-8, line ends as on Unix."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
        writer.writerow(header)
        writer.writerows(rows)


def save_plotted_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file for DVC's plots, whose pages hold every cell inside of a script, as it is.

    Angle brackets, by which a name could end that script and begin another, become single quotation marks (‹ and ›).
    """
    safe = str.maketrans("<>", "‹›")
    save_table(path, header, ([c.translate(safe) if isinstance(c, str) else c for c in row] for row in rows))


def load_table(path: Path, header: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file that has at least the columns of `header`.

    Raises:
        DataError: missing file, missing column, or a line of another length.
    """
    rows = []
    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = list(reader.fieldnames or [])
            if missing := [name for name in header if name not in columns]:
                raise DataError(f"{path}: expected the columns {', '.join(header)}; {missing[0]!r} is missing"
                                f"{_other_separator(columns)}")  # fmt: skip
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(f"{path}, line {reader.line_num}: expected {len(columns)} columns; "
                                    "quote a cell that holds commas")  # fmt: skip
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a CSV file ({reason_of(error)})") from error
    return rows


def _other_separator(columns: Sequence[str]) -> str:
    used = [name for mark, name in SEPARATORS.items() if mark != "," and len(columns) == 1 and mark in columns[0]]
    return f"; found {used[0]} between cells, as a spreadsheet may have saved it" if used else ""
