"""The label images that supervise a training: read once, checked, counted; frames without labels are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wildseg.core.classes import IGNORE
from wildseg.core.errors import DataError
from wildseg.segment.data import Pairs
from wildseg.training.distributed import SINGLE_PROCESS, DistributedContext


@dataclass(frozen=True)
class Supervision:
    """What error lines call the label images that supervise a training, and the stage that makes them anew."""

    name: str = "pseudo mask"
    stage: str = "crf"
    advice: str = "see metrics/crf.json, lower crf.min_confidence or train.min_confidence"


MASKS = Supervision()
WEAK_STAGE = "data/weak/dvc.yaml"
WEAK_ADVICE = "see metrics/weak.json, lower weak.scribble or weak.tau"
KINDS = {"masks": MASKS, **{kind: Supervision(kind, WEAK_STAGE, WEAK_ADVICE) for kind in ("scribbles", "points")}}


def count_pixels(
    masks: Iterable[tuple[str, np.ndarray]], ids: Sequence[int], kind: Supervision = MASKS
) -> dict[str, np.ndarray]:
    """Count the labelled pixels of each frame: (max(ids) + 1,) int64 by frame name.

    Args:
        masks: (frame, (H, W) uint8 ids, 255 ignore).
        ids: the ids that mean something.
        kind: what the masks are.

    Raises:
        DataError: a mask holds another id.
    """
    counts = {}
    for frame, mask in masks:
        found = np.bincount(mask.ravel(), minlength=256)
        found[IGNORE] = 0
        if strange := sorted(set(np.flatnonzero(found).tolist()) - set(ids)):
            raise DataError(
                f"the {kind.name} of {frame}: expected ids {ids[0]} to {ids[-1]} or {IGNORE}, found {strange}, "
                f"which are of other classes; run 'dvc repro {kind.stage}'"
            )
        counts[frame] = found[: ids[-1] + 1]
    return counts


@dataclass(frozen=True)
class TrainingData:
    """Frames with labelled pixels, by split.

    Attributes:
        train: to be trained on.
        val: to validate on; may be empty.
        counts: (max(ids) + 1,) int64 labelled pixels of each id in the training frames.
        skipped: number of frames of both splits without a labelled pixel.
    """

    train: Pairs
    val: Pairs
    counts: np.ndarray
    skipped: int


def without(load_mask: Callable[[str], np.ndarray], ids: Sequence[int], frame: str) -> np.ndarray:
    """Return the mask (H, W) uint8 of a frame with the pixels of some ids ignored."""
    mask = load_mask(frame)
    return np.where(np.isin(mask, ids), np.uint8(IGNORE), mask)


def read(
    frames: Mapping[str, Sequence[str]],
    load_image: Callable[[str], np.ndarray],
    load_mask: Callable[[str], np.ndarray],
    ids: Sequence[int],
    kind: Supervision = MASKS,
    distributed: DistributedContext = SINGLE_PROCESS,
    progress: Callable[[range], Iterable[int]] = lambda share: share,
    certain: str = "",
) -> TrainingData:
    """Read every mask once, count its labels, and leave out the frames without any.

    Args:
        frames: names by split, ``"train"`` and ``"val"``.
        load_image: from a name to an image (H, W, 3) uint8 RGB.
        load_mask: from a name to a mask (H, W) uint8 ids, 255 ignore.
        ids: the ids that mean something.
        kind: what the masks are.
        distributed: the processes, which all call this; each reads a share of the masks.
        progress: wraps the loop over this process's share.
        certain: which labelled pixels count, for the error line.

    Raises:
        DataError: a mask is missing, broken or of other classes, or no training frame has a labelled pixel.
    """
    names = [*frames["train"], *frames["val"]]
    pixels, sizes = np.zeros((len(names), ids[-1] + 1), np.int64), np.zeros((len(names), 2), np.int64)
    for index in progress(distributed.share(len(names))):
        mask = load_mask(names[index])
        sizes[index] = mask.shape
        pixels[index] = count_pixels([(names[index], mask)], ids, kind)[names[index]]
    counts = dict(zip(names, distributed.sum_array(pixels), strict=True))
    known = {name: (int(h), int(w)) for name, (h, w) in zip(names, distributed.sum_array(sizes), strict=True)}
    usable = {split: [name for name in frames[split] if counts[name].any()] for split in ("train", "val")}
    if not usable["train"]:
        raise DataError(
            f"train: expected training frames with labelled pixels{certain}, found none in {len(frames['train'])} "
            f"frames of the split train; {kind.advice}, or check the labels"
        )
    return TrainingData(
        Pairs(usable["train"], load_image, load_mask, sizes=known, kind=kind.name, made_by=kind.stage),
        Pairs(usable["val"], load_image, load_mask, kind=kind.name, made_by=kind.stage),
        sum((counts[name] for name in usable["train"]), np.zeros(ids[-1] + 1, np.int64)),
        len(names) - len(usable["train"]) - len(usable["val"]),
    )
