"""Files and folders that appear together, whole or not at all: written beside their places, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wildseg.core.errors import DataError


class Placement:
    """Targets of one command, each with a temporary path beside it until all are complete."""

    def __init__(self, *, replace: bool) -> None:
        """Begin without targets; `replace` lets existing ones be replaced."""
        self._replace = replace
        self._temporary: dict[Path, Path] = {}

    def folder(self, target: Path) -> Path:
        """Return the temporary folder that will be `target`, empty.

        Raises:
            DataError: the target exists and may not be replaced.
        """
        temporary = self.file(target)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        return temporary

    def file(self, target: Path) -> Path:
        """Return the temporary path of the file that will be `target`; raises as `folder` does."""
        if _occupied(target) and not self._replace:
            raise DataError(f"{target}: expected nothing there, found {'a folder' if target.is_dir() else 'a file'}; "
                            "choose another name, or replace it with --replace")  # fmt: skip
        target.parent.mkdir(parents=True, exist_ok=True)
        self._temporary[target] = target.with_name(f".{target.name}.{os.getpid()}")
        return self._temporary[target]

    def complete(self) -> None:
        """Rename all temporary paths to their targets; where one cannot be, those before are undone."""
        done: list[tuple[Path, Path | None]] = []
        try:
            for target, temporary in self._temporary.items():
                old = target.with_name(f".{target.name}.{os.getpid()}.old") if target.exists() else None
                if old is not None:
                    target.rename(old)
                done.append((target, old))
                temporary.rename(target)
        except OSError:
            for target, old in reversed(done):
                _remove(target)
                if old is not None:
                    old.rename(target)
            raise
        for _, old in done:
            if old is not None:
                _remove(old)

    def remove_leftovers(self) -> None:
        """Remove what was not completed."""
        for temporary in self._temporary.values():
            _remove(temporary)


@contextmanager
def placing(*, replace: bool) -> Iterator[Placement]:
    """Give a placement that is completed where nothing is raised, and leaves nothing otherwise."""
    placement = Placement(replace=replace)
    try:
        yield placement
        placement.complete()
    finally:
        placement.remove_leftovers()


def _occupied(target: Path) -> bool:
    return target.exists() and not (target.is_dir() and not any(target.iterdir()))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
