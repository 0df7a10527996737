"""Which frames are worth a picture: spread evenly, the same ones on every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def sample_evenly(groups: Sequence[Sequence[Item]], count: int) -> list[Item]:
    """Take up to `count` items in all, shared fairly among `groups`, evenly spaced within each, in order.

    What a short group cannot give is taken from the others; earlier groups get what does not divide.
    """
    shares = [0] * len(groups)
    for _ in range(min(count, sum(map(len, groups)))):
        open_groups = [index for index, group in enumerate(groups) if shares[index] < len(group)]
        shares[min(open_groups, key=lambda index: shares[index])] += 1
    return [item for group, share in zip(groups, shares, strict=True) for item in _spread(group, share)]


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    # The middles of `count` equal stretches.
    return [items[(2 * index + 1) * len(items) // (2 * count)] for index in range(count)]
