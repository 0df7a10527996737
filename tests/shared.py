"""What is made once: for a whole run of tests, by whichever of its processes needs it first, or for each process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from wildseg.execution import params
from wildseg.execution.params import Params

SHIPPED = Path(__file__).parents[1] / "params.yaml"


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name`, empty at first, that `make` has filled; nobody may change what is in it.

    A session's fixture is made by each process of pytest-xdist anew. This is for one that takes long: the others wait.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # that of the run: each worker has a folder of its own in it
    folder, finished = base / name, base / f"{name}.finished"
    with FileLock(base / f"{name}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder


def shipped_content() -> dict[str, Any]:
    """Return this checkout's params.yaml as mappings and lists of one's own; reading it takes 40 ms, a copy none."""
    return deepcopy(_shipped_content())


def shipped_params() -> Params:
    """Return what this checkout's params.yaml says, with options that are one's own to change."""
    return deepcopy(_shipped_params())


@cache
def _shipped_content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return content


@cache
def _shipped_params() -> Params:
    return params.load(SHIPPED)
