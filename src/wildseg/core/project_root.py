"""The root of the user's project, which is another folder while DVC runs an experiment in a copy of the project."""

from __future__ import annotations

from pathlib import Path

TEMPORARY_EXPERIMENTS = (".dvc", "tmp", "exps")


def project_root(root: Path) -> Path:
    """Return the root of the user's project for the pipeline folder `root`, absolute.

    They differ inside `dvc exp run --temp` and `--queue`, where the pipeline runs in a copy below ``.dvc/tmp/exps``
    of the real repository, which is deleted afterwards.
    """
    root = root.resolve()
    parts = root.parts
    for start in range(len(parts) - len(TEMPORARY_EXPERIMENTS) + 1):
        if parts[start : start + len(TEMPORARY_EXPERIMENTS)] == TEMPORARY_EXPERIMENTS:
            return Path(*parts[:start])
    return root
