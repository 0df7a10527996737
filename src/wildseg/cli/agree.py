"""`wildseg agree`: how far two tables of labels agree, class by class."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError
from wildseg.execution.params import Params
from wildseg.metrics.agreement import agreement


def show(artifacts: Artifacts, params: Params, one: Path, other: Path) -> None:
    """Print Cohen's kappa and the share of equal answers, per class and overall, on the frames that both tables have.

    Raises:
        DataError: a table is missing or malformed, or they have no frame in common.
    """
    names = params.classes.names
    tables = [artifacts.load_labels(names, path) for path in (one, other)]
    frames = [frame for frame in tables[0] if frame in tables[1]]
    if not frames:
        raise DataError(f"{one} and {other}: expected some frame that is in both, found none")
    first, second = (np.stack([table[frame] for frame in frames]) for table in tables)
    found = agreement(first, second)
    alone = [f"{len(table) - len(frames)} only in {path}" for table, path in zip(tables, (one, other), strict=True)]
    print(f"agree: {len(frames)} frames in both, {', '.join(alone)}")
    width = max(9, *(len(name) for name in names))
    print(f"{'class':<{width}}  {'kappa':>6}  {'same':>6}  {'first':>6}  {'second':>6}")
    for name, *row in zip(names, found.kappa, found.share, first.sum(0), second.sum(0), strict=True):
        kappa, share, said, said_too = row
        print(f"{name:<{width}}  {_number(kappa):>6}  {_number(share):>6}  {said:>6}  {said_too:>6}")
    print(f"{'mean':<{width}}  {_number(found.mean_kappa):>6}")
    sums = f"{first.sum():>6}  {second.sum():>6}"
    print(f"{'together':<{width}}  {_number(found.pooled_kappa):>6}  {_number(found.overall):>6}  {sums}")
    print(f"the same in all classes: {found.exact:.1%} of frames")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
