"""Git as a program: what it prints about a repository, and commands that make one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from wildseg.core.errors import WildsegError, words_of

SECONDS = 60  # that a question may take


def lines(root: Path, *arguments: str) -> list[str] | None:
    """Return what git prints, cut at zero bytes, in the folder `root`; None where it fails or is not installed.

    It waits for no lock and changes nothing.
    """
    try:
        done = _done(["--no-optional-locks", "-C", str(root), *arguments], SECONDS)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return [part for part in done.stdout.split("\0") if part.strip()] if done.returncode == 0 else None


def run(*arguments: str) -> None:
    """Run git.

    Raises:
        WildsegError: it is not installed, or fails.
    """
    try:
        done = _done(arguments)
    except OSError as error:
        raise WildsegError(f"git: expected to be installed ({error.strerror})") from error
    if done.returncode:
        raise WildsegError(f"git {arguments[0]}: {words_of(done.stderr)[:300]}")


def _done(arguments: Sequence[str], seconds: int | None = None) -> subprocess.CompletedProcess[str]:
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
