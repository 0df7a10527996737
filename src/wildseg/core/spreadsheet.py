"""Tables that a user has edited: CSV as spreadsheets save it, whatever their separator, encoding and letter case.

A spreadsheet separates cells by what its language uses (`;` where the comma is in numbers), saves in the encoding of
its system, and leaves empty columns and lines. All of that is undone where it is unambiguous. What wildseg itself
writes is read by `wildseg.core.tables.load_table`, which accepts nothing else.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wildseg.core.errors import DataError, check_regular
from wildseg.core.text import shorten

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
WORKBOOKS = {b"PK\x03\x04": "an .xlsx or .ods workbook", b"\xd0\xcf\x11\xe0": "an .xls workbook"}
NAMED = re.compile(r'"?sep=(?P<separator>[^"\r\n])"?[,;\t|]*(?=[\r\n])', re.IGNORECASE)  # Excel's own first line
BLANK = " \t\r\n\ufeff\u00a0"


@dataclass(frozen=True)
class Sheet:
    """A table as a spreadsheet saves it.

    columns: names of the columns; those the caller named are spelled its way. rows: (line number, cells by column); a
    row that is shorter than the header lacks the last columns. separator: between cells. encoding_guessed: the file is
    not UTF-8, so that letters other than English ones may be wrong.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    separator: str = ","
    encoding_guessed: bool = False


def load_sheet(path: Path, first: str, *others: str) -> Sheet:
    """Read a table with a column `first`; the names of this and `others` may be in another case, or have spaces.

    Raises:
        DataError: the file is missing, is no table with such a column, or has cells without a column.
    """
    text, encoding_guessed = _decoded(path)
    separator, text = _named_separator(text)
    known = {name.casefold(): name for name in (first, *others)}
    found = ""
    for candidate in SEPARATORS if separator is None else (separator,):
        rows = _rows(path, text, candidate)
        line, header = next(rows, (0, []))
        columns = tuple(known.get(" ".join(cell.split()).casefold(), cell.strip(BLANK)) for cell in header)
        found = found or ", ".join(cell.strip(BLANK) for cell in header)
        if first in columns and len(columns) > 1:
            _check_header(path, line, columns)
            # A table written by wildseg is read literally: file names may have surrounding spaces.
            exact = candidate == "," and first in header and set(others) <= {*header}
            cells = tuple(_named_cells(path, rows, columns, candidate, exact))
            return Sheet(tuple(filter(None, columns)), cells, candidate, encoding_guessed)
    expected = ", ".join((first, *others))
    shown = repr(shorten(found, 80)) if found else "an empty file"
    raise DataError(f"{path}: expected a CSV file with the columns {expected} in its first line, separated by commas, "
                    f"semicolons or tabs; found {shown}")  # fmt: skip


def _decoded(path: Path) -> tuple[str, bool]:
    """Return the text of a file, and whether its encoding had to be guessed."""
    try:
        check_regular(path)
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a CSV file ({error.strerror})") from error
    for start, kind in WORKBOOKS.items():
        if raw.startswith(start):
            raise DataError(f"{path}: expected a CSV file, found {kind}; save it as 'CSV UTF-8'")
    encoding = "utf-8-sig"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif 0 in raw[:2]:  # a header of English letters has a zero byte in each
        encoding = "utf-16-be" if raw[:1] == b"\0" else "utf-16-le"
    for guess in (encoding, "cp1252"):
        try:
            return raw.decode(guess), guess == "cp1252"
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path}: expected a CSV file as UTF-8 text, found another encoding; save it as 'CSV UTF-8'")


def _named_separator(text: str) -> tuple[str | None, str]:
    """Return the separator that Excel's own first line ``sep=;`` names, and the text with that line left empty."""
    named = NAMED.match(text)
    return (None, text) if named is None else (named["separator"], text[named.end() :])


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        for row in reader:
            if len(row) == 1 and separator in row[0]:
                # A spreadsheet with another separator quotes the whole line as one cell.
                row = next(csv.reader(row, delimiter=separator, skipinitialspace=True))  # noqa: PLW2901
            if any(cell.strip(BLANK) for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}: expected a CSV file ({error})") from error


def _check_header(path: Path, line: int, columns: Sequence[str]) -> None:
    for name in filter(None, columns):
        if columns.count(name) > 1:
            raise DataError(f"{path}, line {line}: the column {name!r} occurs twice")


def _named_cells(
    path: Path, rows: Iterator[tuple[int, list[str]]], columns: Sequence[str], separator: str, exact: bool
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, row in rows:
        cells = row if exact else [cell.strip(BLANK) for cell in row]
        names = [*columns, *[""] * (len(cells) - len(columns))]  # cells beyond the last column
        if any(cell.strip(BLANK) and not name for name, cell in zip(names, cells, strict=False)):
            raise DataError(f"{path}, line {line}: expected {len([*filter(None, columns)])} columns; quote a cell that "
                            f"holds {SEPARATORS.get(separator, repr(separator))}")  # fmt: skip
        yield line, {name: cell for name, cell in zip(names, cells, strict=False) if name}
