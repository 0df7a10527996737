"""Data that an experiment would not see: `dvc exp run --queue` works on what git and DVC know.

The user's own files lie below data/raw, data/truth, data/corrected, data/memory and data/labels. A file there is known
if git tracks it, or if it is an output that a .dvc file or a dvc.yaml names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wildseg.cli.doctor import git
from wildseg.cli.doctor.finding import Finding, listed
from wildseg.core.errors import WildsegError
from wildseg.core.yaml_files import load
from wildseg.execution.dvc_table import PIPELINES

FOR_GIT = (".dvc", ".csv", ".json", ".txt", ".md", ".yaml", ".gitignore")  # small texts; anything else is DVC's
FOLDERS = ("data/raw", "data/truth", "data/corrected", "data/memory", "data/labels")


def check(root: Path, source: str) -> Iterator[Finding]:
    """Yield whether `extract.source` is there, and which of the user's files git and DVC do not know."""
    outputs = outputs_of(root)
    yield from _source(root, source, outputs)
    unknown = untracked(root, outputs)
    if unknown is None:
        return
    if not unknown:
        yield Finding("ok", f"git or DVC know all files of {', '.join(FOLDERS)}")
    else:
        places = sorted({_place(path) for path in unknown})
        files = "1 file" if len(unknown) == 1 else f"{len(unknown)} files"
        text = f"neither git nor DVC know {files} of {listed(places)}: queued experiments do not see them"
        small = [path for path in places if path.endswith(FOR_GIT)]
        large = [path for path in places if path not in small]
        remedies = [f"{command} {' '.join(own)}" for command, own in (("git add", small), ("dvc add", large)) if own]
        yield Finding("note", text, f"{' && '.join(remedies)}; then commit")


def _source(root: Path, source: str, outputs: set[Path]) -> Iterator[Finding]:
    path = root / source
    known = any(path.resolve().is_relative_to(one) for one in outputs)
    if path.exists():
        if not path.resolve().is_relative_to(root.resolve()):
            yield Finding("note", f"extract.source: {source} lies outside of the project, so no commit has it",
                          "copy it below data/raw and 'dvc add' it")  # fmt: skip
        return
    if known:
        yield Finding("note", f"extract.source: {source} is not here, and DVC knows it",
                      "'dvc repro' makes it where a dvc.yaml has it; else 'dvc pull' or 'dvc checkout'")  # fmt: skip
    else:
        yield Finding("stop", f"extract.source: there is nothing at {source}", "put a video or folder there")


def outputs_of(root: Path) -> set[Path]:
    """Return all files and folders that DVC knows as outputs, absolute."""
    found: set[Path] = set()
    root = root.resolve()
    for file in sorted({path for folder in FOLDERS for path in (root / folder).rglob("*.dvc") if path.is_file()}):
        found |= {file.parent / str(out["path"]) for out in _entries(_content(file).get("outs"))}
    for file in (path for pattern in PIPELINES for path in sorted(root.glob(pattern)) if path.is_file()):
        stages = _content(file).get("stages", {}).values()
        for stage in (one for one in stages if isinstance(one, Mapping)):
            folder = file.parent / str(stage.get("wdir", "."))
            outs = [out for kind in ("outs", "metrics") for out in stage.get(kind, [])]
            found |= {folder / str(name) for out in outs for name in (out if isinstance(out, Mapping) else [out])}
    return {Path(os.path.normpath(path)) for path in found}


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = load(path)
    except (OSError, WildsegError):  # DVC itself reports what is wrong with it
        return {}
    return content if isinstance(content, Mapping) else {}


def _entries(outs: object) -> list[Mapping[str, Any]]:
    return [one for one in outs if isinstance(one, Mapping) and "path" in one] if isinstance(outs, list) else []


def untracked(root: Path, outputs: set[Path]) -> list[str] | None:
    """Return the user's files that neither git nor DVC knows, relative to `root`; None outside of a git repository."""
    folders = [folder for folder in FOLDERS if (root / folder).is_dir()]
    if not folders:
        return []
    new = git.lines(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *folders)
    ignored = git.lines(root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *folders)
    if new is None or ignored is None:
        return None
    paths = ((name, root.resolve() / name) for name in [*new, *ignored])
    return [name for name, path in paths if not any(path.is_relative_to(one) for one in outputs)]


def _place(path: str) -> str:
    """Return the file, or the folder of a truth or of photos that it lies in, as 'dvc add' takes it."""
    parts = Path(path).parts
    return "/".join(parts[:3])
