"""A finding: one line about the machine or the project, and what to do about it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wildseg.core.errors import one_line

Level = Literal["ok", "note", "stop"]


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    level: ``ok``; ``note``, which a person should know; ``stop``, which prevents a run. text: what was found. remedy:
    what to do, empty where nothing is to be done.
    """

    level: Level
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the line: level, finding, remedy."""
        return one_line(f"{self.level:<5} {self.text}" + (f"; {self.remedy}" if self.remedy else ""))


def listed(names: list[str], most: int = 4) -> str:
    """Return the first few of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def age(path: Path) -> str:
    """Return how long ago a file was changed, such as ``3 hours ago``.

    Raises:
        OSError: there is no such file.
    """
    seconds = max(0.0, time.time() - path.stat().st_mtime)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"
