"""Checkpoints of PCAA under the authors' names: ``backbone.stem``, ``backbone.layer1`` to 4, ``head`` and ``dsn``.

Their backbone is a ResNet with a stem of three convolutions, which timm has as ``resnet50c`` and ``resnet101c``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from wildseg.core.errors import ModelError
from wildseg.encoders.cnn.match_weights import match_weights
from wildseg.encoders.cnn.weight_file import read_weights
from wildseg.segment.pcaa.network import Pcaa

MARK = "head.module_list."
# Beginnings of names, the authors' and this package's. Where their heads have dropout, the last layer is one place
# further on.
HEADS = (
    (r"head\.module_list\.(\d+)\.conv_cam\.", r"decoder.attentions.\1.activation."),
    (r"head\.module_list\.(\d+)\.gcn\.conv1\.", r"decoder.attentions.\1.graph.between_bins."),
    (r"head\.module_list\.(\d+)\.gcn\.conv2\.", r"decoder.attentions.\1.graph.channels."),
    (r"head\.module_list\.(\d+)\.fuse\.", r"decoder.attentions.\1.over_bins."),
    (r"head\.module_list\.(\d+)\.proj_(query|key|value)\.", r"decoder.attentions.\1.\2."),
    (r"head\.module_list\.(\d+)\.conv_out\.", r"decoder.attentions.\1.output."),
    (r"head\.conva\.", "decoder.reduce."),
    (r"head\.convb\.", "decoder.smooth."),
    (r"head\.conv_seg\.([01])\.", r"decoder.fuse.\1."),
    (r"head\.conv_seg\.[34]\.", "decoder.classify."),
    (r"dsn\.([01])\.", r"auxiliary.0.\1."),
    (r"dsn\.[34]\.", "auxiliary.2."),
)
STEM = ((r"stem\.7\.", "bn1."), (r"stem\.(\d)\.", r"conv1.\1."))  # the stem's last norm stands beside it in timm
OF_CLASSES = ("decoder.classify.", "auxiliary.2.")  # and the class activation maps


def is_official(path: Path, key: str) -> bool:
    """Return whether a .safetensors file is a checkpoint of the whole network, under the authors' names.

    Raises:
        DataError: it cannot be read.
    """
    return any(name.removeprefix("module.").startswith(MARK) for name in read_weights(path, key))


def load_checkpoint(network: Pcaa, path: Path, key: str) -> str:
    """Load a checkpoint into a network and return a description of what was loaded.

    Layers of another number of classes stay as they are.

    Args:
        network: with a ResNet that has a stem of three convolutions, and the checkpoint's bins and channels.
        path: a .safetensors file for which `is_official` holds.
        key: the parameter that names the file, for error lines.

    Raises:
        DataError: the file cannot be read.
        ModelError: tensors are missing, or of another shape.
    """
    found = {name.removeprefix("module."): value for name, value in read_weights(path, key).items()}
    trunk = {_renamed(name.removeprefix("backbone."), STEM): value for name, value in found.items()
             if name.startswith("backbone.")}  # fmt: skip
    matched = match_weights(network.encoder.encoder, trunk, (), f"{key}: {path} does not fit this train.encoder")
    network.encoder.encoder.load_state_dict(matched.state, strict=False)
    heads = {_renamed(name, HEADS): value for name, value in found.items() if not name.startswith("backbone.")}
    left_out = _load_heads(network, heads, f"{key}: {path}")
    text = f"weights of PCAA: {len(found) - len(left_out)} of {len(found)} tensors from {path.name}"
    return f"{text}; left out, of other classes: {', '.join(left_out)}" if left_out else text


def _load_heads(network: Pcaa, state: Mapping[str, Tensor], where: str) -> list[str]:
    own = {name: value for name, value in network.state_dict().items() if not name.startswith("encoder.")}
    counted = {name for name in own if not name.endswith("num_batches_tracked")}
    if wrong := sorted(counted ^ {name for name in state if not name.endswith("num_batches_tracked")}):
        raise ModelError(f"{where}: {len(wrong)} tensors missing or of another architecture, such as {wrong[0]}")
    other = [name for name, value in state.items() if name in own and value.shape != own[name].shape]
    of_classes = [name for name in other if name.startswith(OF_CLASSES) or ".activation." in name]
    if strange := sorted(set(other) - set(of_classes)):
        raise ModelError(
            f"{where}: {strange[0]} is {tuple(state[strange[0]].shape)} instead of {tuple(own[strange[0]].shape)}; set "
            "train.options.pcaa.bins and channels to those of the checkpoint"
        )
    network.load_state_dict({name: value for name, value in state.items() if name not in other}, strict=False)
    return of_classes


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", replacement, name)
    return name
