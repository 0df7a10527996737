"""Two things timed side by side: in turns, after a warm-up, so that what else the machine does falls on both alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

Action = Callable[[], object]
Timed = Callable[[], float]  # returns seconds


@dataclass(frozen=True)
class Result:
    """Medians over the runs, in `unit`; `ratio` is the median of each run's own ours / peer, with its extremes."""

    name: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    lowest: float
    highest: float
    runs: int


def compare(
    name: str, ours: Action, peer: Action, peer_name: str, *, unit: str = "ms", per: int = 1, runs: int = 5
) -> Result:
    """Time `ours` and `peer`, each once unrecorded and then `runs` times in turns.

    Args:
        name: what is measured.
        ours: what this project does.
        peer: what it is compared with.
        peer_name: the peer in words.
        unit: milliseconds, or milliseconds a piece.
        per: pieces in one call of each.
        runs: recorded runs of each.
    """
    return compare_seconds(
        name, partial(seconds, ours), partial(seconds, peer), peer_name, unit=unit, per=per, runs=runs
    )


def compare_seconds(
    name: str, ours: Timed, peer: Timed, peer_name: str, *, unit: str = "ms", per: int = 1, runs: int = 5
) -> Result:
    """Compare as `compare` does, where each side says by itself how many seconds it took."""
    ours()
    peer()
    pairs = []
    for run in range(runs):
        if run % 2:  # the other way round, so that neither always finds what the other left in the caches
            second = peer()
            pairs.append((ours(), second))
        else:
            pairs.append((ours(), peer()))
    ratios = [first / second for first, second in pairs]
    firsts, seconds_of_peer = zip(*pairs, strict=True)
    return Result(
        name,
        unit,
        median(firsts) * 1000 / per,
        median(seconds_of_peer) * 1000 / per,
        peer_name,
        median(ratios),
        min(ratios),
        max(ratios),
        runs,
    )


def seconds(action: Action) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
