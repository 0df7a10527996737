"""Whether the folder is a project of DVC inside of a git repository, and what the last commit lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wildseg.cli.doctor import git
from wildseg.cli.doctor.finding import Finding, listed
from wildseg.core.project_root import project_root

DESCRIBE = ("dvc.yaml", "params.yaml", "dvc.lock")  # what a commit says of a run


def check(root: Path) -> Iterator[Finding]:
    """Yield whether DVC and git know this folder, and whether the last commit describes what was computed here."""
    if project_root(root) != root.resolve():
        yield Finding("note", "this folder is a temporary copy in which DVC runs an experiment",
                      f"run doctor in {project_root(root)}")  # fmt: skip
    has_dvc = any((folder / ".dvc").is_dir() for folder in (root.resolve(), *root.resolve().parents))
    inside = git.lines(root, "rev-parse", "--show-toplevel")
    if inside is None:
        yield Finding("stop", "this folder is in no git repository, which DVC expects", "git init")
    if not has_dvc:
        yield Finding("stop", "this folder is in no project of DVC", "dvc init")
    if inside is None or not has_dvc:
        return
    head = git.lines(root, "log", "-1", "--format=%h %s")
    if head is None:
        yield Finding("note", "git has no commit, and experiments begin from one", "git add . && git commit")
        return
    yield Finding("ok", f"git and DVC know this folder; the last commit is {head[0].strip()}")
    changed = git.lines(root, "status", "--porcelain", "-z", "--no-renames", "--", *DESCRIBE) or []
    unknown = [entry[3:] for entry in changed if entry.startswith("??")]
    edited = [entry[3:] for entry in changed if not entry.startswith("??")]
    if unknown:
        yield Finding("note", f"git does not know {listed(unknown)}, so no commit says what was computed",
                      f"git add {' '.join(unknown)} && git commit")  # fmt: skip
    if edited:
        yield Finding("note", f"{listed(edited)} differs from the last commit",
                      "commit it, so that 'dvc metrics diff' and experiments compare with it")  # fmt: skip
