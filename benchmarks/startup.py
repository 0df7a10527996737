"""How long the import and each command take: against Python alone, or with the one library it cannot do without.

A stage is started in a folder that holds params.yaml and nothing else: it reads and checks its parameters, imports all
it needs, and stops at its missing input.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.project import ROOT, environment
from benchmarks.timing import Result, compare

LIGHT = ("extract", "label", "cam", "crf", "eval")  # models are loaded by workers
HEAVY = ("train",)


def measure() -> Iterator[Result]:
    """Yield the start-up time of each command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        start = partial(_start, folder=folder)
        public = partial(start, "-c", "import wildseg")
        yield compare("`import wildseg`", public, partial(start, "-c", "import numpy"), "`import numpy`", runs=9)
        helps = partial(start, "-m", "wildseg.cli", "--help")
        yield compare("start `wildseg --help`", helps, partial(start, "-c", "pass"), "`python -c pass`", runs=9)
        click = partial(start, "-c", "import click")
        yield compare("start `wildseg --help`, above click", helps, click, "`python -c 'import click'`", runs=9)
        for stage in LIGHT:
            yield _stage(stage, start, "numpy, PIL", runs=7)
        for stage in HEAVY:
            yield _stage(stage, start, "torch", runs=3)


def _stage(stage: str, start: partial[None], libraries: str, runs: int) -> Result:
    return compare(
        f"start `wildseg {stage}`",
        partial(start, "-m", "wildseg.cli", stage, expect=1),
        partial(start, "-c", f"import {libraries}"),
        f"`python -c 'import {libraries}'`",
        runs=runs,
    )


def _start(*arguments: str, folder: Path, expect: int = 0) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != expect or "Traceback" in done.stderr:
        raise SystemExit(f"{' '.join(arguments)} exited with {done.returncode}:\n{done.stderr}")
