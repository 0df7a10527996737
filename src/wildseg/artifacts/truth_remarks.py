"""Warnings about truth masks: without a key frame, missing, or with ids of another order of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wildseg.artifacts.frames import Frame
from wildseg.artifacts.truth import TruthStats, check_id_offset, id_offset_warning
from wildseg.artifacts.truth_names import find_unmatched, pictures, unmatched_message
from wildseg.core.errors import DataError
from wildseg.core.project_root import project_root
from wildseg.metrics.confusion import miou, raise_truth_ids, without_ignored


def unmatched_remarks(
    folders: Sequence[Path], frames: Sequence[Frame], truths: Mapping[str, Path], root: Path
) -> list[str]:
    """Return lines on masks that match no key frame, or on the reason why there is none.

    Args:
        folders: of truth, the project's first.
        frames: the key frames.
        truths: the masks found, by the frame's name.
        root: the project folder.

    Raises:
        DataError: there are masks, and none is named like a frame of any source.
    """
    lines = []
    left = find_unmatched(folders, frames, truths)
    for folder in folders:
        if own := [path for path in left.misnamed if path.is_relative_to(folder)]:
            line = unmatched_message(own, frames, folder)
            if not truths:
                raise DataError(f"eval: {line}")
            lines.append(f"{len(truths)} key frames have a truth; {line}")
    if not truths:
        why = _why_none(folders[0], frames, left.elsewhere, root)
        lines.append(f"{why}; nothing is measured, all metrics are null")
    return lines


def _why_none(folder: Path, frames: Sequence[Frame], elsewhere: Sequence[Path], root: Path) -> str:
    if elsewhere:
        return (f"no key frame has a truth: {len(elsewhere)} masks are of other frames, such as {elsewhere[0]}; "
                f"key frames are {frames[0].name}, ...")  # fmt: skip
    project = project_root(root)
    there = project / "data" / "truth"
    if project != root.resolve() and (count := len(list(pictures(there)))):
        return (
            f"no key frame has a truth in this experiment's copy of the project, which holds what git and DVC track: "
            f"{there} has {count} untracked masks; 'git add' them, or put them into {there}/<source> and "
            f"'dvc add data/truth/<source> && git add data/truth', and 'git commit', then queue it again"
        )
    return f"no key frame has a truth ({folder}/{frames[0].name}.png)"


def id_remarks(seen: TruthStats, class_names: Sequence[str], folder: Path, *, background: bool) -> list[str]:
    """Return lines on the contents of truth masks.

    Raises:
        DataError: ids fit no order of classes.
    """
    warning = check_id_offset(seen.pixels, seen.masks, class_names, folder, background=background)
    lines = [warning] if warning else []
    if seen.resampled:
        lines.append(f"{seen.resampled} truths of another size were resized to their frame by nearest-neighbour "
                     "interpolation")  # fmt: skip
    return lines


def agreement_remarks(seen: TruthStats, pseudo: np.ndarray, class_names: Sequence[str], folder: Path) -> list[str]:
    """Return a line if ids of masks without a map agree with the pseudo masks only when raised by one.

    Args:
        seen: the contents of truth masks.
        pseudo: (n, n + 1) the confusion of the pseudo masks, see `wildseg.metrics.confusion`.
        class_names: C names, of the ids 1..C.
        folder: of the map to write.
    """
    if not seen.masks:
        return []
    matrix = without_ignored(pseudo)
    warning = id_offset_warning(miou(matrix), miou(raise_truth_ids(matrix)), class_names, folder)
    return [warning] if warning else []
