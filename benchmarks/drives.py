"""The leaderboard on the rendered drives of the demo: trained on one, tested on the other.

    python -m benchmarks.drives --every 4

Needs data/raw/field, which `dvc repro data/raw/dvc.yaml` renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from benchmarks import leaderboard
from benchmarks.photographs import Photographs
from benchmarks.project import ROOT
from wildseg.artifacts.frames import Frame

HELD_OUT = "test_drive"
STRETCH = 8  # frames that are drawn together


def prepare(folder: Path) -> Photographs:
    """Return the data set of the drives in a folder."""
    if not (folder / f"{HELD_OUT}.mp4").exists():
        raise SystemExit(f"{folder}: expected the demo drives, found none; run 'dvc repro data/raw/dvc.yaml'")
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return Photographs("drives", content["classes"], partial(_sources, folder), _is_test, STRETCH)


def _sources(folder: Path, videos: Path, truth: Path) -> None:
    for video in sorted(folder.glob("*.mp4")):
        (videos / video.name).symlink_to(video)
        (truth / video.stem).symlink_to(folder / "truth" / video.stem)


def _is_test(frames: Sequence[Frame]) -> np.ndarray:
    return np.array([frame.source == HELD_OUT for frame in frames])


if __name__ == "__main__":
    leaderboard.main(prepare, __doc__ or "", ROOT / "data" / "raw" / "field")
