"""Starting Python from a test: with this checkout's code, in any folder, and with an answer that can be read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


def python(*arguments: str, cwd: Path | None = None, timeout: float = 300, **environment: str) -> Answer:
    """Run this interpreter with `arguments` and `environment`; return how it ended and what it said."""
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("WILDSEG_", "DVC_", "MLFLOW_"))},
        "PYTHONPATH": str(SOURCE),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    return Answer(
        subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd, env=variables, capture_output=True, text=True, timeout=timeout, check=False,
        )
    )  # fmt: skip


def wildseg(*arguments: str, cwd: Path, timeout: float = 300, **environment: str) -> Answer:
    """Run the command line in `cwd`."""
    return python("-m", "wildseg.cli", *arguments, cwd=cwd, timeout=timeout, **environment)


class Answer:
    """How a program ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.output, self.errors = done.returncode, done.stdout, done.stderr

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.output}\n{self.errors}"
