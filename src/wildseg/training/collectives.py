"""Collective operations of the processes of a training; all have to call the same ones in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from wildseg.core.errors import WildsegError


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes."""
    total = tensor.clone(memory_format=torch.contiguous_format)
    with _one_line():
        distributed.all_reduce(total)
    return total


def all_gather_rows(row: torch.Tensor) -> torch.Tensor:
    """Return (processes, n): the row (n,) of each process, by rank."""
    rows = [torch.empty_like(row) for _ in range(distributed.get_world_size())]
    with _one_line():
        distributed.all_gather(rows, row)
    return torch.stack(rows)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise WildsegError(f"train: another process of this training has ended ({reason})") from error
