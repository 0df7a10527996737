"""Loads a trained segmenter from its folder: weights, config, and the network that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.methods import predictor
from wildseg.segment.deployed import Segmenter

if TYPE_CHECKING:
    import torch

    from wildseg.core.classes import Classes
    from wildseg.segment.predict import Predictor


def load(folder: Path, device: str = "cpu", precision: str = "fp32") -> Segmenter:
    """Load the segmenter of a folder with config.json and model.safetensors, such as models/segmenter.

    Args:
        folder: where both lie.
        device: a torch device.
        precision: fp32, bf16 or fp16.

    Raises:
        DataError: a file is missing or broken, or they do not fit each other.
        ParamsError: there is no architecture of the name in the config.
    """
    return _segmenter(*predictor.load(folder, device, precision), str(folder))


def assemble(
    state: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    device: str = "cpu",
    precision: str = "fp32",
    where: str = "models/segmenter",
) -> Segmenter:
    """Build the segmenter of weights and a config that were read already; `where` is their folder, for error lines.

    Raises:
        DataError: weights and config do not fit each other.
        ParamsError: there is no architecture of the name in the config.
    """
    return _segmenter(predictor.assemble(state, config, device, precision, where), config, where)


def _segmenter(loaded: Predictor, config: Mapping[str, Any], where: str) -> Segmenter:
    def of_classes(classes: Classes) -> Segmenter:
        state = {name: value.cpu() for name, value in loaded.network.state_dict().items()}
        words = predictor.with_classes(state, config, classes, where, "with_classes")
        return assemble(*words, loaded.device, loaded.precision, where)

    return Segmenter(loaded, config, of_classes)
