"""Checkpoints of L2G: the authors' names of tensors, and those of this package.

The authors' file is a dict: ``state_dict`` the global network, ``local_dict`` the local one, and what training needs.
Its names begin with ``module.``; the backbone lies beside the heads, which are ``fc8`` (classes and background),
``f8_3`` and ``f8_4`` (reductions of conv4 and conv5) and ``f9`` (the mix of the pixel correlation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wildseg.cam.networks.checkpoint_head import check_classes
from wildseg.cam.networks.local_to_global import CorrelatedNet
from wildseg.core.errors import ModelError
from wildseg.encoders.cnn.weight_file import SAFETENSORS, read_weights

AROUND = "module."
HEAD = "head.weight"
HEADS = {
    "fc8": "head",
    "f8_3": "correlation.reduce.0",
    "f8_4": "correlation.reduce.1",
    "f9": "correlation.mix",
}
OWN = ("backbone.", "head.", "correlation.")  # what the names of this package begin with
COUNTER = "num_batches_tracked"  # of normalisations, which some versions of torch did not save
ENTRIES = ("state_dict", "local_dict")  # of the authors' dict: the global and the local network


@dataclass(frozen=True)
class Loaded:
    """How many tensors of a network were found, of how many, and which ones of the file were left out."""

    matched: int
    total: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as a few words."""
        left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return f"{self.matched} of {self.total} tensors{left_out}"


def own_name(name: str) -> str:
    """Return the name in `CorrelatedNet` of a tensor of an official checkpoint; its own names stay."""
    name = name.removeprefix(AROUND)
    if name.startswith(OWN):
        return name
    layer, _, rest = name.partition(".")
    return f"{HEADS[layer]}.{rest}" if layer in HEADS else f"backbone.{name}"


def load(networks: Sequence[CorrelatedNet], path: Path, key: str, other_classes: bool) -> Loaded:
    """Load a checkpoint into the global and the local network; return what matched of the global one.

    Where the file holds one network, such as a .safetensors file, both begin with it.

    Args:
        networks: the global and the local one.
        path: the authors' file or a .safetensors file, of the authors' names or of this package's.
        key: the parameter that names the file, for error lines.
        other_classes: leave the head out, which stays random, where it is of another number of classes.

    Raises:
        DataError: the file cannot be read.
        ModelError: it lacks tensors of the network, or has them in another shape.
    """
    if path.suffix == SAFETENSORS:
        states = [read_weights(path, key)] * 2
    else:
        states = [read_weights(path, key, entries) for entries in (ENTRIES[:1], ENTRIES[::-1])]
    found = [
        fit(network, state, f"{key}: {path}", other_classes) for network, state in zip(networks, states, strict=True)
    ]
    return found[0]


def fit(network: CorrelatedNet, state: Mapping[str, Tensor], where: str, other_classes: bool) -> Loaded:
    """Load tensors by their official or own names into a network; see `load`."""
    own = network.state_dict()
    given = {own_name(name): (name, value) for name, value in state.items()}
    taken = {name: given[name][1] for name in own if name in given}
    left_out = [name for mapped, (name, _) in given.items() if mapped not in own]
    if other_classes and HEAD in taken and taken[HEAD].shape[0] != own[HEAD].shape[0]:
        left_out.append(given[HEAD][0])
        del taken[HEAD], own[HEAD]
    elif HEAD in taken:
        check_classes(taken[HEAD], own[HEAD], where, background=1)
    missing = [name for name in own if name not in taken and not name.endswith(COUNTER)]
    other = [
        f"{given[name][0]} is {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in taken.items()
        if value.shape != own[name].shape
    ]
    wrong = [f"{len(missing)} of {len(own)} tensors missing, such as {missing[0]}"] if missing else []
    wrong += [f"{len(other)} of another shape, such as {other[0]}"] if other else []
    if wrong:
        raise ModelError(f"{where} does not fit this network: {'; '.join(wrong)}")
    network.load_state_dict(taken, strict=False)
    return Loaded(len(taken), len(network.state_dict()), tuple(left_out))
