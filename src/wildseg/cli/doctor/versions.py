"""Versions of Python and of the libraries that the package requires, and the programs that dvc.yaml and DVC call."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from wildseg.cli.doctor.finding import Finding

SHOWN = ("torch", "dvc", "mlflow", "open_clip_torch", "transformers", "segmentation-models-pytorch", "numpy")
PROGRAMS = {
    "wildseg": "the stages of dvc.yaml call it; activate the environment (. .venv/bin/activate)",
    "dvc": "activate the environment (. .venv/bin/activate)",
    "git": "DVC keeps experiments in it; install git",
}


def requirements(extra: str = "") -> list[Requirement]:
    """Return what the installed package requires, without extras or for one of them; empty where it is not installed.

    A clone on PYTHONPATH alone has no list of requirements.
    """
    try:
        lines = metadata.requires("wildseg") or []
    except metadata.PackageNotFoundError:
        return []
    found = [Requirement(line) for line in lines]
    always = [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]
    if not extra:
        return always
    return [one for one in found if one not in always and one.marker and one.marker.evaluate({"extra": extra})]


def version_of(name: str) -> str | None:
    """Return the installed version of a distribution, None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check() -> Iterator[Finding]:
    """Yield the versions in use, libraries that are missing or of another version, and programs that are missing."""
    known = {name: version_of(name) for name in SHOWN}
    shown = ", ".join(f"{name} {version}" for name, version in known.items() if version)
    yield Finding("ok", f"python {platform.python_version()}, {shown}")
    needed = requirements() or [Requirement(name) for name in SHOWN]
    for one in needed:
        version = version_of(one.name)
        if version is None:
            yield Finding("stop", f"{one.name} is not installed", "pip install -c constraints.txt -e .")
        elif not one.specifier.contains(version, prereleases=True):
            text = f"{one.name} is of version {version}, and the package expects {one.specifier}"
            yield Finding("note", text, "pip install -c constraints.txt -e .")
    for name, remedy in PROGRAMS.items():
        if shutil.which(name) is None:
            yield Finding("stop", f"there is no program {name} in PATH", remedy)
