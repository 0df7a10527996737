"""Loads a trained segmenter from its folder: weights, config, and the network that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.methods import predictor
from wildseg.segment.deployed import Segmenter

if TYPE_CHECKING:
    import torch


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
    return Segmenter(*predictor.load(folder, device, precision))


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
    return Segmenter(predictor.assemble(state, config, device, precision, where), config)
