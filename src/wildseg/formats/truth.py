"""Truth: a person's own masks to measure against, which no stage ever writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wildseg.classes import IGNORE
from wildseg.errors import DataError
from wildseg.files import load_label_image
from wildseg.formats.frames import Frame
from wildseg.formats.names import plain
from wildseg.formats.project import Project


class Truth(Project):
    """data/truth, and folders beside the videos."""

    def __init__(self, root: Path | str = ".") -> None:
        """Begin with data/truth alone; a stage may append to `truth_folders`."""
        super().__init__(root)
        self.truth_folders = [self.data / "truth"]

    def truth_path(self, frame: Frame) -> Path | None:
        """Return the truth of a frame, ``<truth folder>/[<source>/]<frame>.png``, or None where there is none.

        The truth folders are data/truth and whatever a stage appended to `truth_folders`.
        """
        name = f"{plain(frame.name)}.png"
        for folder in self.truth_folders:
            for path in (folder / name, folder / plain(frame.source) / name):
                if path.is_file():
                    return path
        return None

    def load_truth(self, frame: Frame, num_classes: int, shape: tuple[int, int]) -> np.ndarray | None:
        """Read the truth of a frame, (H, W) uint8 ids, or None where there is none.

        Raises:
            DataError: another size than `shape`, or an id that is neither 0..num_classes nor 255.
        """
        path = self.truth_path(frame)
        if path is None:
            return None
        truth = load_label_image(path)
        if truth.shape != shape:
            raise DataError(f"{path}: expected the size of its frame, {shape[1]}x{shape[0]}, "
                            f"found {truth.shape[1]}x{truth.shape[0]}")  # fmt: skip
        if strange := sorted(set(np.unique(truth).tolist()) - {*range(num_classes + 1), IGNORE}):
            raise DataError(f"{path}: expected ids 0 to {num_classes} or {IGNORE}, found {strange}; "
                            "ids follow the order of 'classes' in params.yaml, 0 is background")  # fmt: skip
        return truth
