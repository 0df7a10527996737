"""Optimiser and learning-rate schedule: AdamW or SGD, linear warm-up, then a cosine or a polynomial down to 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from wildseg.training.objective import ParamGroup


@dataclass(frozen=True)
class OptimConfig:
    """How to minimise.

    Attributes:
        steps: optimiser steps in all.
        lr: peak learning rate.
        optimizer: ``"adamw"`` (Loshchilov and Hutter 2019) or ``"sgd"`` with momentum.
        schedule: ``"cosine"``, half a cosine down to 0, or ``"poly"``, (1 - t) ** `power`, each over the steps after
            warm-up; or a function from a step, from 0, to its learning rate, in place of `lr`, `warmup` and `power`.
        momentum: of SGD.
        nesterov: take SGD's momentum ahead of the gradient (Sutskever et al. 2013).
        betas: of AdamW.
        weight_decay: of groups that set none; decoupled in AdamW, an L2 term in SGD.
        clip: largest norm of the gradient over all parameters together; None does not clip.
        warmup: share of the steps in which the rate rises linearly to its peak, in [0, 1).
        power: of ``"poly"``.
        lr_option: the parameter that sets `lr`, for error lines.
    """

    steps: int
    lr: float
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "poly"] | Callable[[int], float] = "cosine"
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float | None = None
    warmup: float = 0.05
    power: float = 0.9
    lr_option: str = "lr"

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        if callable(self.schedule):
            return self.schedule(step)
        warmup = max(1, round(self.warmup * self.steps)) if self.warmup else 0
        if step < warmup:
            return self.lr * (step + 1) / warmup
        done = (step - warmup) / (self.steps - warmup)
        if self.schedule == "cosine":
            # In this order of operations: another one rounds the last bit otherwise.
            return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (self.steps - warmup)))
        return float(self.lr * (1 - done) ** self.power)

    def build(self, groups: Sequence[ParamGroup]) -> torch.optim.Optimizer:
        """Return the optimiser of groups of parameters; the trainer sets the learning rate of each step."""
        described = [
            {
                "params": group.params,
                "lr_scale": group.lr_scale,
                "weight_decay": self.weight_decay if group.weight_decay is None else group.weight_decay,
            }
            for group in groups
        ]
        if self.optimizer == "adamw":
            return torch.optim.AdamW(described, lr=self.lr, betas=self.betas)
        return torch.optim.SGD(described, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of a step, times each group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
