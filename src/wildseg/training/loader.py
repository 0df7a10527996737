"""Batches by the number of their step, prepared ahead by worker processes where there are such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from wildseg.core.errors import WildsegError

Item = TypeVar("Item")


def stream(dataset: Dataset[Item], start: int, stop: int, workers: int) -> Iterator[Item]:
    """Yield items `start` to `stop` of a dataset in order, prepared ahead by `workers` processes; 0 means this one.

    Raises:
        WildsegError: as the dataset raised it.
    """
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,  # a fork of a process with a GPU context cannot be used
        pin_memory=bool(workers) and torch.cuda.is_available(),
    )
    try:
        yield from loader
    except WildsegError as error:
        # From a worker it comes with that process's traceback; its last line is the error's own.
        last = str(error).strip().splitlines()[-1]
        raise type(error)(last.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")) from error
