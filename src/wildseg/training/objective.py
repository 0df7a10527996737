"""What is trained: networks by name, groups of their parameters, loss terms and validation metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Batch = Mapping[
    str, Any
]  # named tensors (`image`, `mask`, `labels`, ...), moved to the device; the rest stays as it is
Term = torch.Tensor  # a scalar


@dataclass(frozen=True)
class ParamGroup:
    """Parameters with a learning rate and a weight decay of their own.

    Attributes:
        params: parameters of the objective's networks.
        lr_scale: factor on the learning rate.
        weight_decay: None takes that of the `OptimConfig`.
    """

    params: list[nn.Parameter]
    lr_scale: float = 1.0
    weight_decay: float | None = None


class Objective(Protocol):
    """One or several networks and what they are to minimise. A subclass inherits what it does not define.

    `networks` are trained, checkpointed and saved by name; what is frozen stays outside. A network without parameters
    in any group, such as a running average of another, is checkpointed and saved like the others.
    """

    networks: Mapping[str, nn.Module]

    def loss(self, batch: Batch) -> dict[str, Term]:
        """Return the named terms of the loss, whose sum is minimised.

        Each is a curve. With several processes each term is this process's part of a sum over all of them: where a
        term is a mean over pixels, it is divided by the number of pixels in all processes.
        """
        ...

    def param_groups(self) -> list[ParamGroup]:
        """Return the parameters to be optimised; by default all that require gradients, see `decay_groups`."""
        return decay_groups(self.networks.values())

    def train_mode(self) -> None:
        """Put the networks into training mode; override it where normalisations stay frozen, see `freeze_norms`."""
        for network in self.networks.values():
            network.train()

    def after_step(self, step: int) -> None:
        """Follow up on an optimiser step, counted from 1, such as by a running average; by default do nothing."""
        return

    def validate(self) -> dict[str, float]:
        """Return metrics of the present weights; the highest value of the first picks the best. {} keeps the last."""
        return {}


def decay_groups(
    networks: Iterable[nn.Module],
    lr_scale: float = 1.0,
    undecayed: Iterable[nn.Parameter] = (),
    without: Iterable[nn.Module] = (),
) -> list[ParamGroup]:
    """Return the trainable parameters in two groups: weight decay applies to matrices and kernels alone.

    Biases and the factors of normalisations, which have one axis, do not decay, and nor does what `undecayed` names;
    parts of the networks that `without` names are in neither group. An empty group is left out.
    """
    excluded = {id(parameter) for part in without for parameter in part.parameters()}
    every = [parameter for network in networks for parameter in network.parameters() if id(parameter) not in excluded]
    parameters = [parameter for parameter in every if parameter.requires_grad]
    spared = {id(parameter) for parameter in undecayed} | {id(one) for one in parameters if one.ndim <= 1}
    groups = [
        ParamGroup([parameter for parameter in parameters if id(parameter) not in spared], lr_scale),
        ParamGroup([parameter for parameter in parameters if id(parameter) in spared], lr_scale, weight_decay=0.0),
    ]
    return [group for group in groups if group.params]


def freeze_norms(network: nn.Module) -> int:
    """Put the batch normalisations of a network in evaluation mode: their running statistics are used and stay.

    Returns:
        How many there are.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for module in norms:
        module.eval()
    return len(norms)
