"""Stages whose dvc.lock is of other parameters or files, by what is cheap: parameters, sizes, small files.

`dvc status` compares the contents of all files, and hashes what has changed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wildseg.cli.doctor.finding import Finding, listed
from wildseg.core.errors import WildsegError
from wildseg.core.files import load_bytes
from wildseg.core.yaml_files import load
from wildseg.execution import repair
from wildseg.execution.recorded_inputs import PLACEHOLDER

SMALL = 2**20  # bytes of a file that is hashed
HIDDEN = re.compile(r"\..*|.+~|#.*#")  # in folders of code, see .dvcignore
MISSING = object()


def check(root: Path) -> Iterator[Finding]:
    """Yield whether dvc.lock is complete, and which stages DVC would run again."""
    path = root / "dvc.lock"
    if not path.is_file():
        yield Finding("note", "there is no dvc.lock: nothing has been computed here", "dvc repro")
        return
    try:
        text = load_bytes(path).decode("utf-8", errors="replace")
        stages, params = _mapping(root / "dvc.yaml").get("stages", {}), _mapping(root / "params.yaml")
        locked = _mapping(path).get("stages", {}) if repair.readable(text) else None
    except WildsegError as error:
        yield Finding("stop", str(error))
        return
    if locked is None:
        remedy = "git checkout --ours dvc.lock" if repair.holds_a_merge(text) else "wildseg repair"
        what = "holds both sides of a merge" if repair.holds_a_merge(text) else "is incomplete, as after a kill"
        yield Finding("stop", f"dvc.lock {what}", remedy)
        return
    reasons = {name: first for name, stage in stages.items() if (first := why(root, stage, locked.get(name), params))}
    if not reasons:
        text = (
            f"dvc.lock describes parameters and files of all {len(stages)} stages, by size and digests of small files"
        )
        yield Finding("ok", text, "'wildseg doctor --status' compares all contents")
    for name, reason in reasons.items():
        yield Finding("note", f"stage {name}: {reason}", "dvc repro")


def _mapping(path: Path) -> Mapping[str, Any]:
    try:
        content = load(path)
    except OSError as error:
        raise WildsegError(f"{path.name}: {error.strerror}") from error
    return content if isinstance(content, Mapping) else {}


def why(root: Path, stage: Mapping[str, Any], entry: Mapping[str, Any] | None, params: Mapping[str, Any]) -> str | None:
    """Return why DVC would run a stage, as far as sizes and small files show; None where nothing does.

    Args:
        root: the project folder.
        stage: its description in dvc.yaml.
        entry: what dvc.lock holds of it, None where that has nothing.
        params: of params.yaml.
    """
    if entry is None:
        return "dvc.lock has nothing of it"
    recorded = entry.get("params", {}).get("params.yaml", {})
    keys = [key for key in stage.get("params", []) if isinstance(key, str)]
    if changed := [key for key in keys if _value(params, key) != recorded.get(key, MISSING)]:
        names = [_deeper(key, recorded.get(key), _value(params, key)) for key in changed]
        return f"{listed(names)} in params.yaml changed"
    if entry.get("cmd") != stage.get("cmd"):
        return "its command changed"
    known = {str(one.get("path")): one for kind in ("deps", "outs") for one in entry.get(kind, [])}
    deps = [PLACEHOLDER.sub(lambda match: str(_value(params, match[1])), dep) for dep in stage.get("deps", [])]
    if other := [dep for dep in deps if dep not in known]:
        return f"it now depends on {listed(other)}"
    if changed := [path for path, one in known.items() if _differs(root / path, one)]:
        missing = [path for path in changed if not (root / path).exists()]
        return f"there is no {listed(missing)}" if missing else f"{listed(changed)} changed"
    return None


def _value(params: Any, key: str) -> Any:  # noqa: ANN401
    for part in key.split("."):
        params = params.get(part, MISSING) if isinstance(params, Mapping) else MISSING
    return params


def _deeper(key: str, before: Any, after: Any) -> str:  # noqa: ANN401
    """Return the first key below `key` whose value is another one."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in {**before, **after}:
            if before.get(name, MISSING) != after.get(name, MISSING):
                return _deeper(f"{key}.{name}", before.get(name), after.get(name))
    return key


def _differs(path: Path, recorded: Mapping[str, Any]) -> bool:
    """Return whether a file or folder has another size, number of files, or digest than dvc.lock recorded."""
    if not path.exists():
        return True
    if not path.is_dir():
        size = path.stat().st_size
        if size != recorded.get("size", size):
            return True
        return size <= SMALL and hashlib.md5(load_bytes(path), usedforsecurity=False).hexdigest() != recorded.get("md5")
    sizes = [one.stat().st_size for one in _below(path)]
    return (len(sizes), sum(sizes)) != (recorded.get("nfiles", len(sizes)), recorded.get("size", sum(sizes)))


def _below(folder: Path) -> Iterator[Path]:
    is_code = "src" in folder.parts
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("__pycache__", ".git", ".dvc")]
        yield from (Path(where, name) for name in names if not (is_code and HIDDEN.fullmatch(name)))
