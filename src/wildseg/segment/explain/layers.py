"""Finds the layers of a segmentation network that can be explained, by tracing one forward pass.

Such a layer runs once and returns one feature map (1, K, h, w). The criterion applies to any encoder and architecture,
without a declaration of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

import torch
from torch import Tensor, nn

from wildseg.core.errors import ModelError, did_you_mean

# Aspect ratio 2:3, which distinguishes a grid from other tensors of four axes (attention, tokens).
PROBE = (64, 96)


@dataclass(frozen=True)
class Layer:
    """A module: its name in the network, its number of channels, and its stride in pixels."""

    name: str
    channels: int
    stride: float


@dataclass
class Layers:
    """All layers that can be explained, in the network's order, and the names of the default ones."""

    all: list[Layer] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)

    def chosen(self, names: Sequence[str]) -> list[Layer]:
        """Return the layers of these names, by default the stages.

        Raises:
            ModelError: there is no such layer, or it has no feature map.
        """
        known = {layer.name: layer for layer in self.all}
        for name in names:
            if name not in known:
                raise ModelError(
                    f"--layer: expected one of {', '.join(self.stages)}, or another of the {len(known)} that "
                    f"'wildseg explain --list-layers' shows; found {name!r}{did_you_mean(name, known)}"
                )
        return [known[name] for name in dict.fromkeys(names or self.stages)]


def find(network: nn.Module, device: str = "cpu") -> Layers:
    """Trace one forward pass of a network (1, 3, H, W) -> (1, C, H, W) and return its layers.

    The stages are the end of the encoder, which has the largest receptive field, and each stage of the decoder.
    """
    calls: dict[str, list[object]] = {}
    hooks = []
    for name, module in network.named_modules():
        output_of = calls.setdefault(name, [])
        hooks.append(module.register_forward_hook(lambda _m, _i, output, to=output_of: to.append(output)))
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, *PROBE, device=device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return _Found(network, calls).layers()


@dataclass(frozen=True)
class _Found:
    network: nn.Module
    calls: dict[str, list[object]]  # the outputs of each module, one per call, by its name

    def layers(self) -> Layers:
        outputs = {name: found[0] for name, found in self.calls.items() if name and len(found) == 1}
        grids = {name: output for name, output in outputs.items() if _is_grid(output)}
        grids = {name: output for name, output in grids.items() if not self._repeats(name, output, grids)}
        layers = [Layer(name, output.shape[1], PROBE[0] / output.shape[2]) for name, output in grids.items()]
        decoder = [name for name in _stages(self.network) if name in grids]
        return Layers(layers, [*self._encoder_end(grids), *decoder])

    def _repeats(self, name: str, output: Tensor, grids: Mapping[str, Tensor]) -> bool:
        """Return whether a module is an identity whose output is that of another layer."""
        if not isinstance(self.network.get_submodule(name), nn.Identity):
            return False
        same = [self.network.get_submodule(other) for other, found in grids.items() if found is output]
        return not all(isinstance(module, nn.Identity) for module in same)

    def _encoder_end(self, grids: Mapping[str, Tensor]) -> Iterator[str]:
        """Yield the outermost module that returns the encoder's last feature map, or the first that passes it on."""
        levels = self.calls.get("encoder", [])
        last = levels[0][-1] if levels and isinstance(levels[0], (list, tuple)) else None
        names = [name for name, output in grids.items() if output is last]
        inside = [name for name in names if name.startswith("encoder.")]
        yield from sorted(inside or names, key=lambda name: name.count("."))[:1]


def _is_grid(output: object) -> TypeGuard[Tensor]:
    if not (isinstance(output, Tensor) and output.ndim == 4 and output.is_floating_point()):
        return False
    height, width = output.shape[2:]
    return height * PROBE[1] == width * PROBE[0]


def _stages(network: nn.Module) -> Iterator[str]:
    """Yield the names of the decoder's modules, or the network's if it has no decoder."""
    decoder = getattr(network, "decoder", None)
    yield from _parts(network, "") if decoder is None else _parts(decoder, "decoder.")


def _parts(module: nn.Module, prefix: str) -> Iterator[str]:
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _parts(child, f"{prefix}{name}.")
        elif any(True for _ in child.parameters()):  # without parameters: an upsampling or identity
            yield f"{prefix}{name}"
