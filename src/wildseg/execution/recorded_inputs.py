"""DVC records as inputs of a stage what the stage has read: a stage whose input changed meanwhile fails.

DVC hashes dependencies and parameters again when a stage has ended, and records them beside outputs that the stage
computed before they changed. So a stage that DVC runs compares its inputs at its end with those at its start, and fails
where they differ; DVC then records nothing. Results of frames are stored under keys of their own for the next run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wildseg.core.errors import DataError, WildsegError
from wildseg.core.files import sha256_of
from wildseg.core.yaml_files import load
from wildseg.execution import dvc_yaml, launcher, parents

PLACEHOLDER = re.compile(r"\$\{([^}]+)\}")
CODE = "src/"  # below it .dvcignore excludes what editors leave; a person's data may be called anything
HIDDEN = re.compile(r"\..*")
HIDDEN_OR_BACKUP = re.compile(r"\..*|.+~|#.*#")
TEXTS = frozenset((".py", ".yaml", ".csv", ".json", ".txt"))  # small files that editors rewrite without a change
Inputs = dict[str, object]  # by the name that an error uses: what must be the same at the end

_at_start: list[tuple[Path, str, Inputs]] = []


@contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Raise at the end where an input of the stage that DVC runs in the folder `root` has changed since the start.

    Raises:
        WildsegError: see `check`.
    """
    if not parents.started_by_dvc() or launcher.follows():
        yield
        return
    path, _, stage = os.environ[parents.STAGE].rpartition(":")
    pipeline = root / (path or "dvc.yaml")
    _at_start.append((pipeline, stage, inputs(pipeline, stage)))
    try:
        yield
        check()
    finally:
        _at_start.pop()


def check() -> None:
    """Compare now, while a stage still has the state that it needs to continue.

    Raises:
        WildsegError: parameters or files that DVC would record have changed.
    """
    for pipeline, stage, before in _at_start:
        now = inputs(pipeline, stage)
        if changed := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise WildsegError(
                f"{stage}: {changed[0]}{more} changed while the stage was running, so its result is not recorded; "
                "run the same again"
            )


def inputs(pipeline: Path, stage: str) -> Inputs:
    """Return what a stage of the file `pipeline` depends on: its parameters, and a signature of each file.

    Nothing where the file does not describe the stage: DVC reports what is wrong with it.
    """
    described = dvc_yaml.stage(pipeline, stage)
    if described is None:
        return {}
    try:
        folder = pipeline.parent / described.get("wdir", ".")
        params = load(folder / "params.yaml")
        names = [_filled(name, params) for name in described.get("deps", [])]
        keys = [key for key in described.get("params", []) if isinstance(key, str)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, WildsegError):
        return {}
    found: Inputs = {f"{key} in params.yaml": _value(params, key) for key in keys}
    for name in names:
        for path in _files(folder / name, HIDDEN_OR_BACKUP if name.startswith(CODE) else HIDDEN):
            found[os.path.relpath(path, folder)] = _signature(path)
    return found


def _filled(name: str, params: object) -> str:
    return PLACEHOLDER.sub(lambda match: str(_value(params, match[1])), name)


def _value(params: object, key: str) -> Any:  # noqa: ANN401
    for part in key.split("."):
        if not isinstance(params, Mapping):
            raise DataError(f"{key}: there is no such parameter")
        params = params[part]
    return params


def _files(path: Path, ignored: re.Pattern[str]) -> Iterator[Path]:
    """Yield a file, or all files below a folder but those of an `ignored` name, and what Python compiles."""
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not (name.startswith(".") or name == "__pycache__")]
        yield from (Path(folder, name) for name in names if not ignored.fullmatch(name))


def _signature(path: Path) -> object:
    with suppress(OSError):
        if path.suffix in TEXTS and path.is_file():
            return sha256_of(path)
        status = path.stat()
        return status.st_size, status.st_mtime_ns, status.st_ino
    return None
