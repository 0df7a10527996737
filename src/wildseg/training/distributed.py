"""Distributed training: each process computes its share of every batch, and sums are over all processes.

What is summed is what a single process would have computed over the whole batch: the number of pixels in a mean, the
statistics of batch normalisation, the gradients. So the trained network does not depend on the number of processes, up
to rounding, and all processes hold the same weights. `accelerate launch` starts them; a process that was started alone
is a world of size 1. docs/scale.md says why this is not `DistributedDataParallel`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import distributed

from wildseg.core.errors import WildsegError
from wildseg.training.collectives import all_reduce_sum
from wildseg.training.sync_batch_norm import SyncBatchNorm


@dataclass(frozen=True)
class DistributedContext:
    """This process: `rank` from 0 to `world_size` - 1; `local_world_size` processes are on this machine."""

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    device: str = "cpu"
    launcher_pid: int = field(default_factory=os.getppid)

    @property
    def is_main(self) -> bool:
        """Return whether this is the one process that writes and prints."""
        return self.rank == 0

    def share(self, number: int) -> range:
        """Return the share of `number` items that this process computes: contiguous, and of nearly equal size."""
        return range(number * self.rank // self.world_size, number * (self.rank + 1) // self.world_size)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes, after waiting for them; gradients do not pass."""
        if self.world_size == 1:
            return tensor
        return all_reduce_sum(tensor.detach())

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of a NumPy array over all processes."""
        return array if self.world_size == 1 else self.sum(torch.from_numpy(array).to(self.device)).cpu().numpy()

    def sum_terms(self, terms: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the sums of named scalars, which have the same names in all processes, by one collective."""
        if self.world_size == 1 or not terms:
            return dict(terms)
        return dict(zip(terms, self.sum(torch.stack(list(terms.values()))), strict=True))

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        totals = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, total in zip(gradients, totals.split(sizes), strict=True):
            gradient.copy_(total.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true in any process."""
        return bool(self.sum_array(np.array([int(flag)]))[0])

    def sync_batch_norm(self) -> AbstractContextManager[object]:
        """Return a context in which batch normalisation is over the whole batch and not this process's share alone."""
        return nullcontext() if self.world_size == 1 else SyncBatchNorm()

    def check_same(self, number: int, what: str) -> None:
        """Raise a WildsegError unless all processes have the same number."""
        numbers = np.zeros(self.world_size, np.int64)
        numbers[self.rank] = number
        if len(found := set(self.sum_array(numbers).tolist())) > 1:
            raise WildsegError(
                f"train: expected the same {what} in all {self.world_size} processes, found {sorted(found)}; put the "
                "project on storage that all machines share, so that they read the same files"
            )

    def check_launcher(self) -> None:
        """Raise a WildsegError if the launcher has ended: another run may have begun to write the same outputs."""
        if self.world_size > 1 and os.getppid() != self.launcher_pid:
            raise WildsegError("train: the launcher of this process was killed; the run stops here")

    def close(self) -> None:
        """Leave the process group."""
        if self.world_size > 1:
            distributed.destroy_process_group()


SINGLE_PROCESS = DistributedContext()


def connect(device: str) -> DistributedContext:
    """Join the process group of the processes that a launcher started beside this one.

    Args:
        device: ``"cpu"`` or ``"cuda"``, of which each process on a machine takes its own.

    Raises:
        WildsegError: accelerate is not installed, or the other processes cannot be reached.
    """
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise WildsegError(
            "train: several processes need a package that is not installed; pip install 'wildseg[accelerate]'"
        ) from error
    try:
        state = PartialState(cpu=device == "cpu")
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WildsegError(f"train: the processes of this training cannot reach each other ({reason})") from error
    local = int(os.environ.get("LOCAL_WORLD_SIZE", state.num_processes))
    return DistributedContext(state.process_index, state.num_processes, local, str(state.device))


def of_launcher(device: str, launched: bool, batch_size: int) -> DistributedContext:
    """Return the context of a training of `batch_size` images a step, of one process or, if `launched`, of several.

    Raises:
        WildsegError: as `connect` raises it, or a process would have no image.
    """
    context = connect(device) if launched else DistributedContext(device=device)
    if batch_size < context.world_size:
        raise WildsegError(
            f"train.batch_size: expected at least one image for each of {context.world_size} processes, found "
            f"{batch_size}; raise it, or launch fewer"
        )
    return context
