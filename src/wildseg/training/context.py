"""Where and how a training runs, apart from what it optimises: seed, precision, validation interval, processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wildseg.encoders.precision import autocast
from wildseg.training.distributed import SINGLE_PROCESS, DistributedContext


@dataclass(frozen=True)
class TrainContext:
    """What trainer and objective share.

    Attributes:
        seed: of everything random; a step's draws depend on it and the step alone.
        precision: fp32, bf16 or fp16, of the forward pass; see `autocast`.
        validate_every: steps between validations, which also follow the last step; None never validates.
        distributed: the processes of this training, and the device of this one.
        threads: of this process, that take the parts of a batch at the same time.
        section: of params.yaml, for error lines.
    """

    seed: int = 0
    precision: str = "fp32"
    validate_every: int | None = None
    distributed: DistributedContext = SINGLE_PROCESS
    threads: int = 1
    section: str = "train"

    @property
    def device(self) -> str:
        """The name of this process's torch device."""
        return self.distributed.device

    def autocast(self) -> torch.autocast:
        """Return the context in which a forward pass computes in `precision`."""
        return autocast(self.device, self.precision)
