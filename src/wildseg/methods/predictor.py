"""Builds the network of a trained model, with its preprocessing, by the architecture that its config names.

All that predicts goes through here: `eval`, `predict`, `explain`, the public API, MLflow's model and the export.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.segmenter import read_config, read_weights
from wildseg.core import lookup
from wildseg.segment import predict
from wildseg.segment.architecture import rebuilder
from wildseg.segment.predict import Predictor

if TYPE_CHECKING:
    import torch


def load(folder: Path, device: str = "cpu", precision: str = "fp32") -> tuple[Predictor, dict[str, Any]]:
    """Load the network of a folder with config.json and model.safetensors; return it and the config.

    Args:
        folder: where both lie.
        device: a torch device.
        precision: fp32, bf16 or fp16.

    Raises:
        DataError: a file is missing or broken, or they do not fit each other.
        ParamsError: there is no architecture of the name in the config.
    """
    config = read_config(folder)
    architecture(config, str(folder / "config.json"))  # before weights are read, which may be large
    return assemble(read_weights(folder), config, device, precision, str(folder)), config


def assemble(
    state: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    device: str = "cpu",
    precision: str = "fp32",
    where: str = "models/segmenter",
) -> Predictor:
    """Build the network of a config and give it its weights.

    Args:
        state: weights by name.
        config: as `wildseg.segment.predict.describe` makes it.
        device: where to compute.
        precision: fp32, bf16 or fp16.
        where: the folder of both, for error lines.

    Raises:
        DataError: weights and config do not fit each other.
        ModelError: an encoder that is not saved with the network cannot be found, or is another one.
        ParamsError: there is no architecture of the name in the config.
    """
    build = rebuilder(architecture(config, where), config, where)
    return predict.load(build, state, config, device, precision, where)


def architecture(config: Mapping[str, Any], where: str) -> ModuleType:
    """Import the module of the architecture that a config names; `where` is the config's place, for the error line.

    Raises:
        ParamsError: there is none of the name.
    """
    return lookup.load("methods.architectures", str(config.get("architecture")), where)
