"""The peak of a piece of work is that of its own memory, not of what came before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wildseg.metrics.cost import peak_mib

CPU = torch.device("cpu")
SLACK = 5  # MiB; the system counts pages in bundles, and the interpreter takes some of its own


def take(mib: int) -> None:
    # Ones: memory that nobody wrote to is not there yet.
    np.ones(mib * 2**20, np.uint8)


def test_what_is_taken_and_given_back_is_counted() -> None:
    assert peak_mib(lambda: take(100), CPU) == pytest.approx(100, abs=SLACK)


def test_an_earlier_and_larger_peak_does_not_count() -> None:
    take(300)
    assert peak_mib(lambda: take(50), CPU) == pytest.approx(50, abs=SLACK)


def test_what_is_held_all_the_time_does_not_count() -> None:
    held = np.ones(200 * 2**20, np.uint8)
    assert peak_mib(lambda: take(1), CPU) < SLACK
    assert held.all()


def test_work_is_done_once() -> None:
    calls = []
    peak_mib(lambda: calls.append(0), CPU)
    assert calls == [0]
