"""Outputs of the stages without their computing: files of the kind and size that they leave of tiny frames."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from benchmarks.large_inputs import CELL, CLASSES, SIDE
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.files import empty_dir, save_json, save_table

GRID = SIDE // CELL


def write_outputs(root: Path, sources: Sequence[tuple[str, int]], packed: bool) -> None:
    """Write what all stages leave of frames; their bytes depend on names alone.

    Args:
        root: the project folder.
        sources: (name, number of frames) each.
        packed: in shards; otherwise loose, and frames that are there are left as they are.
    """
    artifacts = Artifacts(root)
    frames = [Frame(f"{name}_{i:06d}", name, i, i / 10, "train") for name, count in sources for i in range(count)]
    if packed:
        for folder in (artifacts.frames_folder, artifacts.cams_folder, artifacts.masks_folder):
            empty_dir(folder)
    for frame in frames:
        if not artifacts.frame_path(frame.name).exists():
            _write_frame(artifacts, frame.name)
    names = [frame.name for frame in frames]
    if packed:
        artifacts.pack_frames(names)
        artifacts.pack_maps(names)
        artifacts.pack_masks(names)
    artifacts.save_frames(frames)
    artifacts.save_quarantine([])
    artifacts.save_labels(names, CLASSES, np.ones((len(names), len(CLASSES)), bool))
    artifacts.save_scores(names, CLASSES, np.ones((len(names), len(CLASSES))))
    _invent_the_rest(root)


def _write_frame(artifacts: Artifacts, name: str) -> None:
    chance = np.random.default_rng(zlib.crc32(name.encode()))
    cells = chance.integers(0, 256, (GRID, GRID, 3), np.uint8)
    artifacts.save_image(name, cells.repeat(CELL, 0).repeat(CELL, 1))
    artifacts.save_maps(name, np.array([0, 2]), chance.random((2, GRID, GRID)))
    ids = chance.choice(np.array([1, 3, 255], np.uint8), (GRID, GRID))
    artifacts.save_mask(name, ids.repeat(CELL, 0).repeat(CELL, 1))
    artifacts.save_confidence(name, chance.random((GRID, GRID)).repeat(CELL, 0).repeat(CELL, 1))


def _invent_the_rest(root: Path) -> None:
    """Leave something small for every output that is not of frames."""
    for stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].values():
        for entry in (*stage.get("outs", ()), *stage.get("metrics", ())):
            path = root / (entry if isinstance(entry, str) else next(iter(entry)))
            if path.suffix == ".json":
                save_json(path, {})
            elif path.suffix and not path.exists():
                save_table(path, ("step",), [(0,)])
            elif not path.suffix and not path.is_dir():
                path.mkdir(parents=True)
                save_json(path / "config.json", {})
