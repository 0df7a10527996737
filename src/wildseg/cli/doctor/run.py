"""`wildseg doctor`: all checks in their order, printed as they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

from wildseg.artifacts.project import Artifacts
from wildseg.cli.doctor import data, devices, disk, extras, models, project, record, tracking, unfinished, versions
from wildseg.cli.doctor.finding import Finding
from wildseg.core.errors import WildsegError, words_of
from wildseg.execution import params


def show(root: Path, *, status: bool = False) -> bool:
    """Print all findings and a summary; return whether nothing prevents a run.

    Args:
        root: the project folder.
        status: also have `dvc status` compare all contents.
    """
    counts = {"ok": 0, "note": 0, "stop": 0}
    for finding in findings(root, status=status):
        counts[finding.level] += 1
        print(finding, flush=True)
    prevent = f"{counts['stop']} findings prevent a run" if counts["stop"] != 1 else "1 finding prevents a run"
    notes = f"{counts['note']} notes" if counts["note"] != 1 else "1 note"
    print(f"doctor: {prevent if counts['stop'] else 'nothing prevents a run'}, {notes}")
    return not counts["stop"]


def findings(root: Path, *, status: bool = False) -> Iterator[Finding]:
    """Yield the findings of all checks that apply to the folder `root`."""
    yield from versions.check()
    yield from devices.check()
    if missing := [name for name in ("dvc.yaml", "params.yaml") if not (root / name).is_file()]:
        yield from extras.check()
        yield Finding("stop", f"{root.resolve()} has no {' and no '.join(missing)}", "run in the folder of dvc.yaml")
        return
    remarks: list[str] = []
    try:
        values = params.load(root / "params.yaml", remarks.append)
    except WildsegError as error:
        values = None
        yield Finding("stop", str(error), "correct params.yaml")
    yield from (Finding("note", remark) for remark in remarks)
    if values:
        yield from extras.check(values.train.encoder_weights, root / values.extract.source)
    else:
        yield from extras.check()
    if values:
        yield from models.check(values, root)
    yield from project.check(root)
    yield from _status(root) if status else record.check(root)
    if values:
        yield from data.check(root, values.extract.source)
    yield from tracking.check(root)
    yield from unfinished.check(root)
    yield from disk.check(Artifacts(root))


def _status(root: Path) -> Iterator[Finding]:
    """Yield a line for each stage that DVC itself finds to differ."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with chdir(root), Repo() as repo:
            changed = repo.status()
    except DvcException as error:
        yield Finding("stop", f"dvc status: {words_of(str(error))[:300]}")
        return
    for name in changed:
        yield Finding("note", f"dvc status: {name} differs from dvc.lock", "dvc repro")
    if not changed:
        yield Finding("ok", "dvc status: all stages are as dvc.lock has them")
