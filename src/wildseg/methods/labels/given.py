"""Labels that somebody else wrote down: a table with the columns Frame and Labels, names joined by commas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wildseg.core.errors import DataError
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage


def label(frames: Sequence[NamedImage], request: LabelRequest, *, path: str) -> Iterator[LabelResult]:
    """Yield scores of 0 and 1 for each of `frames` as the table at `path` has them.

    Raises:
        DataError: the table is missing or malformed, or has no line for some frame.
    """
    table = request.read_labels(path)
    if missing := [frame.name for frame in frames if frame.name not in table]:
        raise DataError(
            f"{path}: expected a line for each of {len(frames)} frames, {len(missing)} have none, the first is "
            f"{missing[0]!r}; an empty Labels cell says that a frame shows no class"
        )
    for frame in frames:
        yield LabelResult(table[frame.name].astype(float), threshold=0.5)
