"""Splits of a data set as a project has them: photos are split by their place in the folder.

`extract` cuts a folder of photos once, by the shares extract.val and extract.test. Photos in the order train, val, test
with shares that cut between them have the splits of the data set, frame by frame.
"""

from __future__ import annotations

from collections.abc import Sequence

from wildseg.frames.split import split_by_time


def shares(splits: Sequence[str]) -> tuple[float, float] | None:
    """Return extract.val and extract.test that give each photo its split, or None where no shares do.

    Args:
        splits: train, val or test of each photo, in the order of the folder.
    """
    number, train, test = len(splits), splits.count("train"), splits.count("test")
    if number < 2 or not train:
        return None
    last = number - 1  # a place is that of a photo over the last one's, from 0 to 1
    test_share = 1 - (number - test - 0.5) / last if test else 0.0
    val_share = (1 - (train - 0.5) / last) - test_share if number > train + test else 0.0
    found = max(0.0, round(val_share, 9)), max(0.0, round(test_share, 9))
    places = split_by_time(range(number), (0, last), val=found[0], test=found[1], stretch_s=None)
    return found if places == list(splits) else None
