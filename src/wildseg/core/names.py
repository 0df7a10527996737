"""Names of frames as names of files, and the advice in errors about files that a stage should have written."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wildseg.core.errors import DataError, SystemFailure


def is_plain(name: str) -> bool:
    """Return whether a name is that of a file without a folder.

    Names become paths: one with a slash could lead out of the data folder, where files would be read or overwritten.
    """
    return name not in ("", ".", "..") and name.isprintable() and not set(name) & set("/\\")


def plain(name: str) -> str:
    """Return the name as it is. Tables are checked when they are read; this is for names that come another way.

    Raises:
        DataError: it is not plain.
    """
    if not is_plain(name):
        raise DataError(f"expected the name of a frame, without a folder; found {name!r}")
    return name


def check_names(path: Path, rows: Iterable[Mapping[str, str]], *columns: str) -> None:
    """Check the names in some columns of the table that was read from `path`.

    Raises:
        DataError: one is not plain.
    """
    for column in columns:
        for row in rows:
            if not is_plain(row[column]):
                raise DataError(f"{path}: expected plain file names in the column {column!r}, without a folder; "
                                f"found {row[column]!r}")  # fmt: skip


def check_lines(path: Path, found: Container[str], frames: Iterable[str], stage: str) -> None:
    """Check that the table at `path`, which `stage` writes, has a line for each of `frames`.

    Raises:
        DataError: one is not in `found`; the error has the command that writes the table again.
    """
    for frame in frames:
        if frame not in found:
            raise DataError(f"{path}: expected a line for the frame {frame!r}, found none; run 'dvc repro {stage}'")


@contextmanager
def made_by(stage: str) -> Iterator[None]:
    """Add to an error the command that writes the file again: an unreadable output of a stage is not repaired.

    Raises:
        SystemFailure: the one from inside, with the advice to try again.
        DataError: any other from inside, with the command.
    """
    try:
        yield
    except SystemFailure as error:
        raise SystemFailure(f"{error}; resolve it and run the same command again") from error
    except DataError as error:
        raise DataError(f"{error}; run 'dvc repro {stage}'") from error
