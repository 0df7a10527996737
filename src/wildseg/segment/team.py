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
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from wildseg.errors import WildsegError


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
        return _sum(tensor.detach())

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
        return nullcontext() if self.size == 1 else _WholeBatch(self)

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


# Batch normalisation over all processes --------------------------------------------------------------------------


class _WholeBatch(TorchFunctionMode):
    """Computes every `batch_norm` that trains over the shares of all processes, whichever module asks for it."""

    def __init__(self, team: Team) -> None:
        super().__init__()
        self._team = team

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func is functional.batch_norm:
            return _batch_norm(self._team, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    team: Team,
    input: torch.Tensor,  # noqa: A002 - the name in torch
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Compute `torch.nn.functional.batch_norm` with mean and variance over the inputs (B, C, ...) of all processes."""
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    values = input.float()
    axes = [0, *range(2, input.ndim)]
    shape = [1, -1, *([1] * (input.ndim - 2))]
    count = team.sum(torch.tensor(input.numel() / input.shape[1], dtype=torch.float64, device=input.device)).item()
    if count == 1:
        raise ValueError("Expected more than 1 value per channel when training")
    mean = _Sum.apply(values.sum(axes)) / count  # (C,)
    centred = values - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(axes)) / count  # (C,)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * (count / (count - 1)), momentum)
    normal = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        normal = normal * weight.view(shape)
    if bias is not None:
        normal = normal + bias.view(shape)
    return normal.to(input.dtype).contiguous(memory_format=_format(input))


def _format(tensor: torch.Tensor) -> torch.memory_format:
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


class _Sum(torch.autograd.Function):
    """The sum over all processes, through which gradients pass: each result depends on every process's part."""

    @staticmethod
    def forward(context: Any, part: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        return _sum(part)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        return _sum(gradients[0])


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    try:
        distributed.all_reduce(total)
    except RuntimeError as error:
        raise WildsegError(
            f"train: another process of this training has gone ({' '.join(str(error).split())[:200]})"
        ) from error
    return total
