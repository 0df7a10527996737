"""The state of a training as tensors by name and plain values: copies of networks, an optimiser's moments, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

Tensors = dict[str, torch.Tensor]


def copy_of(network: nn.Module) -> Tensors:
    """Return the weights and buffers of a network by name, copied to the CPU."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return the tensors under ``<prefix>/<name>``."""
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return what `prefixed` put under a prefix."""
    start = f"{prefix}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def checked(network: nn.Module, state: Tensors) -> Tensors:
    """Return the state of a network after comparing names and shapes with those of `network`.

    Raises:
        ValueError: they differ.
    """
    own = network.state_dict()
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in state.items()}:
        raise ValueError("its best weights are not those of this network")
    return state


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Return the moments of an optimiser as ``<index of the parameter>/<slot>``."""
    tensors = {}
    for index, parameter in enumerate(parameters_of(optimizer)):
        for slot, value in optimizer.state[parameter].items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}/{slot}"] = value.detach().cpu().contiguous()
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give an optimiser the moments that `optimizer_tensors` returned.

    Raises:
        ValueError: one is of another shape than its parameter.
    """
    for index, parameter in enumerate(parameters_of(optimizer)):
        # AdamW counts its steps on the CPU, wherever the network is.
        optimizer.state[parameter] = {
            slot: value.clone() if slot == "step" else _like(parameter, value)
            for slot, value in below(str(index), tensors).items()
        }


def parameters_of(optimizer: torch.optim.Optimizer) -> Sequence[nn.Parameter]:
    """Return the parameters of all groups, in order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _like(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    # In the parameter's own memory format: another one is rounded differently in the last bit.
    if value.shape != parameter.shape:
        raise ValueError(f"expected {tuple(parameter.shape)} numbers of the optimiser, found {tuple(value.shape)}")
    return torch.zeros_like(parameter).copy_(value)
