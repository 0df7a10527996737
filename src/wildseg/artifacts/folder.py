"""The project folder, the base of every kind of artifact."""

from __future__ import annotations

from pathlib import Path


class Project:
    """The folder of one project; `root` is where dvc.yaml lies."""

    def __init__(self, root: Path | str = ".") -> None:
        """Set the paths; nothing is read or created yet."""
        self.root = Path(root)
        self.data = self.root / "data"
        self.metrics = self.root / "metrics"
        self.scratch_folder = self.root / ".wildseg"

    def metrics_path(self, name: str) -> Path:
        """Return ``metrics/<name>``."""
        return self.metrics / name
