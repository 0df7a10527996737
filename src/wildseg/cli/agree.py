"""`wildseg agree`: the agreement of two tables of labels, class by class."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError
from wildseg.core.text import aligned
from wildseg.execution.params import Params
from wildseg.metrics.agreement import agreement


def show(artifacts: Artifacts, params: Params, one: Path, other: Path) -> None:
    """Print Cohen's kappa and the share of equal labels, per class and overall, on the frames that both tables list.

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
    per_class = zip(names, found.kappa, found.share, first.sum(0), second.sum(0), strict=True)
    rows = [("class", "kappa", "same", "first", "second")]
    rows += [(name, _number(kappa), _number(share), str(one), str(two)) for name, kappa, share, one, two in per_class]
    rows.append(("mean", _number(found.mean_kappa), "", "", ""))
    sums = str(first.sum()), str(second.sum())
    rows.append(("together", _number(found.pooled_kappa), _number(found.overall), *sums))
    print("\n".join(aligned(rows)))
    print(f"the same in all classes: {found.exact:.1%} of frames")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
