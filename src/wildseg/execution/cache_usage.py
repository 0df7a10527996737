"""The result store: what it holds, how much of it the last runs used, and pruning it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wildseg.core.errors import WildsegError, check_regular
from wildseg.core.text import aligned
from wildseg.execution.result_store import VARIABLE, location

ENTRY = re.compile(r"[0-9a-f]{2}/(?:[0-9a-f]{62}|\.[0-9a-f]{62}\.\d+)")  # whole, or left by a run that was killed
UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def show(root: Path, limit: str | None = None) -> None:
    """Print a table of the results stored for the project folder `root`, after pruning them to `limit` bytes.

    Raises:
        WildsegError: `limit` is no size.
    """
    folder = location(root)
    if folder is None:
        print(f"cache: {VARIABLE} is off, so nothing is stored")
        return
    if limit is not None:
        removed, freed = prune(folder, size_in_bytes(limit))
        print(f"cache: removed {removed} entries, {readable(freed)}")
    rows = usage(folder)
    if not rows:
        print(f"cache: nothing is stored in {folder}")
        return
    print(f"cache: {readable(sum(row.size for row in rows))} in {folder}")
    cells = [("stage", "frames", "size", "last run")]
    for row in rows:
        last = "" if row.hits is None else f"{row.hits} from the cache, {row.misses} computed"
        cells.append((row.stage, str(row.entries), readable(row.size), last))
    print("\n".join(aligned(cells, "<>><")))


def size_in_bytes(text: str) -> int:
    """Return the bytes of a size such as ``500MB``, ``1.5 GB`` or ``0``.

    Raises:
        WildsegError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    size = float(match[1]) * UNITS[match[2]] if match and match[2] in UNITS else math.inf
    if not math.isfinite(size):
        raise WildsegError(f"--prune: expected a size such as 500MB, 20GB or 0, found {text[:40]!r}")
    return int(size)


def readable(size: int) -> str:
    """Return a number of bytes in the unit that gives the shortest number, such as ``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:.1f} TB"


@dataclass(frozen=True)
class Usage:
    """The results of one stage: entries, their bytes, and how many of its last run were cached (None: it never ran)."""

    stage: str
    entries: int
    size: int
    hits: int | None
    misses: int | None


def usage(folder: Path) -> list[Usage]:
    """Return the usage of each stage, by name."""
    result = []
    for stage in _stages(folder):
        sizes = [path.stat().st_size for path in _entries(stage)]
        result.append(Usage(stage.name, len(sizes), sum(sizes), *_last_run(folder, stage.name)))
    return [row for row in result if row.entries or row.hits is not None]


def prune(folder: Path, limit: int) -> tuple[int, int]:
    """Remove the least recently used entries until at most `limit` bytes remain; return (entries, bytes) removed."""
    found = [(path.stat(), path) for stage in _stages(folder) for path in _entries(stage)]
    found.sort(key=lambda pair: pair[0].st_mtime_ns)
    excess = sum(stat.st_size for stat, _ in found) - limit
    removed = freed = 0
    for stat, path in found:
        if freed >= excess:
            break
        path.unlink(missing_ok=True)
        removed, freed = removed + 1, freed + stat.st_size
    if limit == 0:
        for empty in (*{path.parent for _, path in found}, *{path.parents[1] for _, path in found}):
            with suppress(OSError):  # it holds other files
                empty.rmdir()
    return removed, freed


def _stages(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _entries(stage: Path) -> Iterator[Path]:
    # Recognised by their names: WILDSEG_CACHE may by mistake name a folder with other files.
    return (path for path in stage.glob("??/*") if ENTRY.fullmatch(f"{path.parent.name}/{path.name}"))


def _last_run(folder: Path, stage: str) -> tuple[int | None, int | None]:
    try:
        check_regular(folder / f"{stage}.json")
        note = json.loads((folder / f"{stage}.json").read_text())
        return int(note["hits"]), int(note["misses"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, None
