"""What to correct first: training frames on which pseudo mask and model disagree most, each on other classes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.corrected import CorrectedMasks
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir
from wildseg.core.images import load_label_image
from wildseg.core.text import aligned
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.metrics.selection import disputed_pixels, select
from wildseg.stages.eval.task import PredictTask

if TYPE_CHECKING:
    from wildseg.execution.params import Params

SHOWN = 3  # classes of a frame


@dataclass(frozen=True)
class Suggestion:
    """A frame: its share of disputed pixels in [0, 1], and the names of the classes with most of them."""

    frame: str
    disputed: float
    classes: tuple[str, ...]


def suggest(params: Params, artifacts: Artifacts, runtime: Runtime, number: int) -> list[Suggestion]:
    """Return at most `number` frames that the model is trained on and that were not corrected, the best first.

    Predictions are those of `eval`, and come from its result store where it made them.

    Raises:
        DataError: there is no such frame, none is disputed, or a stage before left something out.
    """
    trained = artifacts.load_frames("train", after="crf")
    corrected = CorrectedMasks(artifacts.root, trained, params.classes.names).paths
    frames = [frame.name for frame in trained if frame.name not in corrected]
    if not frames:
        raise DataError(f"expected training frames without a corrected mask, found none of {len(trained)}")
    folder = empty_dir(artifacts.scratch_folder / "suggest")
    run_frames(PredictTask(artifacts.root, params.classes.names, params.eval, folder), frames, runtime)
    names = params.classes.with_background
    counts = np.zeros((len(frames), len(names)), np.int64)
    shares = np.zeros(len(frames))
    for place, frame in enumerate(frames):
        mask = artifacts.load_mask(frame)
        counts[place], disputed = disputed_pixels(mask, load_label_image(folder / f"{frame}.png"), len(names))
        shares[place] = disputed / mask.size
    shutil.rmtree(folder)
    chosen = select(counts, number)
    if not chosen:
        raise DataError(f"expected pixels on which pseudo masks and model disagree, found none in {len(frames)} frames")
    return [
        Suggestion(frames[place], float(shares[place]), tuple(names[id_] for id_ in _most(counts[place])))
        for place in chosen
    ]


def _most(counts: np.ndarray) -> list[int]:
    order = np.argsort(-counts, kind="stable")[:SHOWN]
    return [int(id_) for id_ in order if counts[id_]]


def lines(suggestions: Iterable[Suggestion]) -> list[str]:
    """Return a table, one line a frame."""
    rows = [("frame", "disputed", "mostly")]
    rows += [(one.frame, f"{one.disputed:.1%}", ", ".join(one.classes)) for one in suggestions]
    return aligned(rows, "<><")
