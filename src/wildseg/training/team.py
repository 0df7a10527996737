"""The processes that train one network together: each computes its share of every batch, and adds up with the others.

What is added up is what a single process would have computed over the whole batch: the pixels that count, the
statistics of batch normalisation, the gradients. So the network does not depend on how many they are, up to rounding,
and each of them holds the same one. `accelerate launch` starts them; a process started alone is a team of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import distributed

from wildseg.core.errors import WildsegError
from wildseg.training.messages import sum_of_all
from wildseg.training.whole_batch import WholeBatch


@dataclass(frozen=True)
class Team:
    """This process among the others: `rank` from 0 to `size` - 1; `here` of them are on this machine."""

    rank: int = 0
    size: int = 1
    here: int = 1
    device: str = "cpu"
    launcher: int = field(default_factory=os.getppid)  # its process

    @property
    def leads(self) -> bool:
        """Say whether this is the one process that writes and prints."""
        return self.rank == 0

    def share(self, number: int) -> range:
        """Return which of `number` things are this process's: about as many as anybody else's, next to each other."""
        return range(number * self.rank // self.size, number * (self.rank + 1) // self.size)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of this tensor over all processes, which are all waited for; gradients do not pass."""
        if self.size == 1:
            return tensor
        return sum_of_all(tensor.detach())

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of a NumPy array over all processes."""
        return array if self.size == 1 else self.sum(torch.from_numpy(array).to(self.device)).cpu().numpy()

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        totals = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, total in zip(gradients, totals.split(sizes), strict=True):
            gradient.copy_(total.view_as(gradient))

    def one_batch(self) -> AbstractContextManager[object]:
        """Give a context in which batch normalisation sees the whole batch and not only this process's share."""
        return nullcontext() if self.size == 1 else WholeBatch()

    def check_same(self, number: int, what: str) -> None:
        """Raise a WildsegError unless all processes have the same number."""
        numbers = np.zeros(self.size, np.int64)
        numbers[self.rank] = number
        if len(found := set(self.sum_array(numbers).tolist())) > 1:
            raise WildsegError(
                f"train: expected the same {what} in all {self.size} processes, found {sorted(found)}; put the project "
                "on storage that all machines share, so that they see the same files"
            )

    def check_launcher(self) -> None:
        """Raise a WildsegError if the launcher has gone: another run may have begun to write what this one writes."""
        if self.size > 1 and os.getppid() != self.launcher:
            raise WildsegError("train: the launcher of this process was killed; the run stops where it is")

    def leave(self) -> None:
        """Say goodbye to the others."""
        if self.size > 1:
            distributed.destroy_process_group()


ALONE = Team()


def join(device: str) -> Team:
    """Meet the other processes that a launcher started beside this one.

    Args:
        device: ``"cpu"`` or ``"cuda"``, of which each process on a machine takes its own.

    Raises:
        WildsegError: accelerate is not installed, or the others cannot be met.
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
    here = int(os.environ.get("LOCAL_WORLD_SIZE", state.num_processes))
    return Team(state.process_index, state.num_processes, here, str(state.device))
