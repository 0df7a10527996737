"""The stages of a dvc.yaml as plain values: the dependencies and outputs that they declare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wildseg.core.errors import WildsegError
from wildseg.core.yaml_files import load


def stage(pipeline: Path, name: str) -> Mapping[str, Any] | None:
    """Return the description of a stage of the file `pipeline`; None where there is none, or the file cannot be read.

    What is wrong with a dvc.yaml, DVC itself reports.
    """
    try:
        content: Any = load(pipeline)
        found = content["stages"][name]
    except (OSError, ValueError, LookupError, TypeError, RecursionError, WildsegError):
        return None
    return found if isinstance(found, Mapping) else None
