"""New files of a change, complete before the first one takes its place; a change that was killed is finished later.

They are written below ``.wildseg/classes/new``. A journal beside them, written last, says that they are complete: from
then on a second run moves what is left, and ends as the first would have.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wildseg.cli.classes import recording
from wildseg.core.errors import DataError
from wildseg.core.files import atomic, load_json, save_json

FOLDER = Path(".wildseg", "classes")


def empty(root: Path) -> Path:
    """Return the empty folder for new files; what a run left that was killed before its journal goes."""
    shutil.rmtree(root / FOLDER, ignore_errors=True)
    (root / FOLDER / "new").mkdir(parents=True)
    return root / FOLDER / "new"


def discard(root: Path) -> None:
    """Remove all that was written for a change; the project stays as it was."""
    shutil.rmtree(root / FOLDER, ignore_errors=True)


def commit(root: Path, what: str, removed: Sequence[str], record: Sequence[str], lines: Sequence[str]) -> None:
    """Write the journal: all new files are complete.

    Args:
        root: the project folder.
        what: the change, in words.
        removed: files that go, relative to `root`.
        record: stages whose outputs dvc.lock shall describe again.
        lines: to be printed at the end.
    """
    content = {"what": what, "removed": list(removed), "record": list(record), "lines": list(lines)}
    save_json(root / FOLDER / "journal.json", content)


def pending(root: Path) -> Mapping[str, Any] | None:
    """Return the journal of a change that was interrupted; None where there is none.

    Raises:
        DataError: the journal is damaged.
    """
    path = root / FOLDER / "journal.json"
    if not path.is_file():
        return None
    content = load_json(path)
    if not all(isinstance(content.get(key), list) for key in ("removed", "record", "lines")):
        raise DataError(
            f"{path}: expected the journal of a change of classes; remove {path.parent} where none is at work"
        )
    return content


def finish(root: Path) -> list[str]:
    """Move all new files to their places, remove what goes, let dvc.lock describe them; return lines to print.

    Raises:
        DataError: there is no complete change.
    """
    journal = pending(root)
    if journal is None:
        raise DataError(f"{root / FOLDER}: expected a complete change of classes, found none")
    new = root / FOLDER / "new"
    for path in sorted(path for path in new.rglob("*") if path.is_file()):
        _move(path, root / path.relative_to(new))
    for name in journal["removed"]:
        (root / str(name)).unlink(missing_ok=True)
    recording.record(root, [str(name) for name in journal["record"]])
    discard(root)
    return [str(line) for line in journal["lines"]]


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        shutil.copymode(target, path)
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic(target) as temporary:  # the folder is a link to another disk
            shutil.copyfile(path, temporary)
        path.unlink()
