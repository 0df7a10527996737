"""Git, for checks: what it prints, without ever waiting for a lock or changing the index."""

from __future__ import annotations

import subprocess
from pathlib import Path


def lines(root: Path, *arguments: str) -> list[str] | None:
    """Return what git prints, cut at zero bytes, in the folder `root`; None where it fails or is not installed."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return [part for part in done.stdout.split("\0") if part.strip()] if done.returncode == 0 else None
