"""`wildseg truth`: key frames with a truth, the classes in their masks, and misnamed masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth import TruthStats, check_id_offset
from wildseg.artifacts.truth_names import find_unmatched, suggest, unmatched_message
from wildseg.core.errors import DataError
from wildseg.core.progress import track
from wildseg.execution.params import Params


def show(params: Params, artifacts: Artifacts, *, rename: bool = False) -> None:
    """Read all truths as `eval` reads them, and print their classes; with `rename`, correct names first.

    Raises:
        DataError: no key frame has a truth, or a mask cannot be used as `eval` would.
    """
    source = artifacts.root / params.extract.source
    if source.is_dir():  # truth may travel with the videos
        artifacts.truth_folders.append(source / "truth")
    frames = artifacts.load_frames()
    if rename:
        for path, better in _renamed(artifacts, frames):
            print(f"truth: {path} -> {better.name}")
    found = artifacts.find_truth(frames)
    left = find_unmatched(artifacts.truth_folders, frames, found)
    for folder in artifacts.truth_folders:
        if own := [path for path in left.misnamed if path.is_relative_to(folder)]:
            print(f"truth: {unmatched_message(own, frames, folder)}")
    if not found:
        raise DataError(f"truth: expected masks of some of {len(frames)} key frames in data/truth, found none; see the "
                        "README there")  # fmt: skip
    _show_ids(params, artifacts, [(frame, found[frame.name]) for frame in frames if frame.name in found])
    print(f"truth: {len(found)} of {len(frames)} key frames have a truth; {len(left.elsewhere)} masks of other frames")


def _show_ids(params: Params, artifacts: Artifacts, truths: Sequence[tuple[Frame, Path]]) -> None:
    names = params.classes.names
    found, pixels = TruthStats(), np.zeros(256, np.int64)
    for frame, path in track(truths, len(truths), "truth"):
        height, width, _ = artifacts.load_image(frame.name).shape
        mask = artifacts.read_truth(path, names, (height, width))
        found.add(mask)
        pixels += np.bincount(mask.ids.ravel(), minlength=256)
    folder = artifacts.truth_folders[0]
    warning = check_id_offset(found.pixels, found.masks, names, folder, background=bool(params.background))
    if warning:
        print(f"truth: {warning}")
    by_id = dict(enumerate(params.classes.with_background)) | {255: "ignore"}
    for value in np.flatnonzero(pixels):
        print(f"{value:>5}  {by_id[int(value)]:<24} {pixels[value] / pixels.sum():7.2%}")


def _renamed(artifacts: Artifacts, frames: Sequence[Frame]) -> list[tuple[Path, Path]]:
    """Rename masks of data/truth whose frame is unambiguous; return the old and new paths.

    Raises:
        DataError: two files would get one name; then none is renamed.
    """
    folder = artifacts.truth_folders[0]
    plan: dict[Path, Path] = {}
    for path in find_unmatched([folder], frames, artifacts.find_truth(frames)).misnamed:
        if path.suffix.lower() == ".png" and (name := suggest(path, frames)) is not None:
            better = path.with_name(f"{name}.png")
            if better in plan or (better.exists() and not better.samefile(path)):
                raise DataError(f"truth: expected one mask a frame, found {plan.get(better, better)} and {path}")
            plan[better] = path
    for better, path in plan.items():
        path.rename(better)
    return [(path, better) for better, path in plan.items()]
