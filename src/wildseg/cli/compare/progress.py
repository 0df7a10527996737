"""Rows of a comparison that is under way, so that an interrupted one resumes; each under the key of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from wildseg.core.errors import DataError
from wildseg.core.files import load_json, save_json
from wildseg.report.method_table import Row


def store(path: Path, key: str, row: Row) -> None:
    """Write a finished row under the key of everything it depends on."""
    save_json(path, {"key": key, "row": asdict(row)})


def stored(path: Path, key: str) -> Row | None:
    """Read the row that was stored under `key`; None if there is none, or it is damaged."""
    try:
        content = load_json(path)
    except DataError:
        return None
    row: Any = content.get("row")
    if content.get("key") != key or not isinstance(row, Mapping) or set(row) != {field.name for field in fields(Row)}:
        return None
    values: dict[str, Any] = {name: math.nan if value is None else value for name, value in row.items()}
    return Row(**values)
