"""Where a result comes from: git commit, DVC experiment, and the digests of dvc.lock.

Reads the files of git and DVC without importing either; what cannot be found is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Collection
from pathlib import Path

import yaml

from wildseg.core.errors import check_regular
from wildseg.core.project_root import project_root

DIGEST = 12  # letters of the digest of a stage's outputs


def git_tags(root: Path) -> dict[str, str]:
    """Return ``git.commit``, ``git.branch`` and ``git.dirty`` of `root`; empty outside a git repository.

    DVC runs experiments on a detached HEAD, so the branch is then the one that points at the same commit. Dirty
    means that a tracked file differs from the commit; dvc.lock and what stages write do not count, because a run
    changes them itself.
    """
    commit = os.environ.get("DVC_EXP_BASELINE_REV") or _git(root, "rev-parse", "HEAD")
    if not commit:
        return {}
    tags = {"git.commit": commit}
    if (changed := _changed(root)) is not None:
        tags["git.dirty"] = str(bool(changed)).lower()
    if branch := _branch(root, commit):
        tags["git.branch"] = branch
    return tags


def _branch(root: Path, commit: str) -> str | None:
    if current := _git(root, "symbolic-ref", "--short", "-q", "HEAD"):
        return current
    pointing = _git(
        project_root(root), "for-each-ref", "--points-at", commit, "--format=%(refname:short)", "refs/heads"
    )
    return pointing.splitlines()[0] if pointing else None


def _changed(root: Path) -> list[str] | None:
    status = _git(root, "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", "--", ".")
    prefix = _git(root, "rev-parse", "--show-prefix")
    if status is None or prefix is None:
        return None
    # Each entry is two letters of state, a space, and the path from the top of the repository.
    paths = [entry[3:].removeprefix(prefix) for entry in status.split("\0") if entry]
    written = [*(path for outs in lock_digests(root).values() for path in outs), "dvc.lock"]
    return [path for path in paths if not any(path == own or path.startswith(f"{own}/") for own in written)]


def dvc_tags(root: Path, unfinished: Collection[str]) -> dict[str, str]:
    """Return the experiment's name and, for each finished stage, ``dvc.<stage>``: a short digest of all its outputs.

    MLflow's page cuts longer tags; `finished_outputs` has the outputs one by one.
    """
    names = {"dvc.exp_name": "DVC_EXP_NAME", "dvc.exp_baseline": "DVC_EXP_BASELINE_REV"}
    tags = {tag: os.environ[name] for tag, name in names.items() if os.environ.get(name)}
    for stage, outs in finished_outputs(root, unfinished).items():
        tags[f"dvc.{stage}"] = hashlib.sha256(json.dumps(outs, sort_keys=True).encode()).hexdigest()[:DIGEST]
    return tags


def finished_outputs(root: Path, unfinished: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the md5 of every output of finished stages, ``{stage: {path: md5}}``.

    `unfinished` are the running stage and those after it: their entries in dvc.lock are of an earlier run.
    """
    return {stage: outs for stage, outs in lock_digests(root).items() if stage not in unfinished}


def lock_digests(root: Path) -> dict[str, dict[str, str]]:
    """Read the md5 of every output in dvc.lock: ``{stage: {path: md5}}``; empty where there is no lock file."""
    try:
        check_regular(root / "dvc.lock")
        content = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))
        return {
            stage: {out["path"]: str(out[out.get("hash", "md5")]) for out in entry.get("outs", [])}
            for stage, entry in content["stages"].items()
        }
    except (OSError, ValueError, RecursionError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return {}


def _git(root: Path, *arguments: str) -> str | None:
    # None where git is not installed, this is no repository, or it does not respond: provenance is optional.
    # Without optional locks: reading the state must not block DVC, which uses the same repository.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
