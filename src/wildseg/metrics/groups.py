"""The two groups of frames that are measured apart: seen sources, and sources that were held out of training.

Of seen sources, some frames were trained on; their model is measured on the frames of the test split, everything before
the model on all frames. Of held-out sources no frame was trained on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from wildseg.metrics.frame_counts import HELD_OUT, SEEN
from wildseg.metrics.levels import Levels


class SplitFrame(Protocol):
    """A frame of a source, in one of the splits train, val and test."""

    @property
    def source(self) -> str:
        """The name of its video or folder."""

    @property
    def split(self) -> str:
        """The split that it was assigned to."""


FrameT = TypeVar("FrameT", bound=SplitFrame)


@dataclass
class Group(Generic[FrameT]):
    """Frames that are measured together: labels, maps and masks on `frames`, the model on `tested` of them.

    `name` is `SEEN` or `HELD_OUT`.
    """

    title: str
    frames: list[FrameT]
    tested: list[FrameT]
    levels: Levels
    name: str = SEEN


def split_groups(
    frames: Sequence[FrameT], class_names: Sequence[str], *, background: bool, unseen: Collection[str] = ()
) -> tuple[Group[FrameT], Group[FrameT]]:
    """Return the frames of seen sources and those of held-out sources; nothing is counted yet.

    Names in `unseen` are those of classes that the model was not trained on.
    """
    known = {frame.source for frame in frames if frame.split != "test"}
    seen = [frame for frame in frames if frame.source in known]
    held_out = [frame for frame in frames if frame.source not in known]
    tested = [frame for frame in seen if frame.split == "test"]
    levels = [Levels(class_names, background, unseen) for _ in range(2)]
    return (
        Group("kept out of training", seen, tested, levels[0]),
        Group("of a source that was never trained on", held_out, held_out, levels[1], HELD_OUT),
    )


def report(seen: Group[FrameT], held_out: Group[FrameT]) -> dict[str, Any]:
    """Return metrics/eval.json; `miou` and `recall` repeat those of the model on seen sources."""
    measured = seen.levels.report()
    return {
        "miou": measured["segmenter"]["miou"],
        "recall": measured["segmenter"]["recall"],
        **measured,
        "unseen": held_out.levels.report() if held_out.frames else None,
    }
