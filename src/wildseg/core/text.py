"""Text for one line or a table of a terminal: shortened, and aligned in columns."""

from __future__ import annotations

from collections.abc import Sequence

from wildseg.core.errors import words_of


def shorten(text: str, width: int) -> str:
    """Return `text`, of which the end is left out where it has more than `width` letters."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def shorten_middle(text: str, width: int) -> str:
    """Return `text`, of which the middle is left out where it has more than `width` letters."""
    half = (width - 5) // 2
    return text if len(text) <= width else f"{text[:half]} ... {text[-half:]}"


def error_line(error: BaseException, width: int = 200) -> str:
    """Return the message of another library's error, or its type where it has none, as one line of `width` letters."""
    return shorten(words_of(str(error)) or type(error).__name__, width)


def aligned(rows: Sequence[Sequence[str]], alignment: str = "<>") -> list[str]:
    """Return a line for each row, with its cells below each other.

    Args:
        rows: the cells of each row; a short row ends early.
        alignment: ``<`` (left) or ``>`` (right) for each column; the last one holds for all that follow.
    """
    columns = max(map(len, rows), default=0)
    sides = alignment + alignment[-1] * (columns - len(alignment))
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(columns)]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=False)).rstrip()
        for row in rows
    ]
