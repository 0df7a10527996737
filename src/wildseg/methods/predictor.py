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
from wildseg.core.errors import DataError
from wildseg.segment import architecture as segment_architecture
from wildseg.segment import predict, vocabulary
from wildseg.segment.predict import Predictor

if TYPE_CHECKING:
    import torch

    from wildseg.core.classes import Classes


def load(
    folder: Path, device: str = "cpu", precision: str = "fp32", classes: Classes | None = None
) -> tuple[Predictor, dict[str, Any]]:
    """Load the network of a folder with config.json and model.safetensors; return it and the config.

    Args:
        folder: where both lie.
        device: a torch device.
        precision: fp32, bf16 or fp16.
        classes: those to predict instead of the trained ones, see `with_classes`.

    Raises:
        DataError: a file is missing or broken, or they do not fit each other.
        ParamsError: there is no architecture of the name in the config, or it knows only the trained classes.
    """
    config = read_config(folder)
    architecture(config, str(folder / "config.json"))  # before weights are read, which may be large
    state = read_weights(folder)
    if classes is not None:
        state, config = with_classes(state, config, classes, str(folder))
    return assemble(state, config, device, precision, str(folder)), config


def with_classes(
    state: Mapping[str, torch.Tensor], config: Mapping[str, Any], classes: Classes, where: str, key: str = "classes"
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return weights and config of a model for other classes, whose phrases are embedded by its CLIP.

    Args:
        state: weights by name.
        config: as `wildseg.segment.predict.describe` makes it.
        classes: names and phrases.
        where: the folder of the model, for its CLIP and for error lines.
        key: what named the classes, for error lines.

    Raises:
        DataError: the config lacks something.
        ModelError: the weights of its CLIP cannot be found.
        ParamsError: the model's architecture knows only the classes that it was trained on, or one class is all.
    """
    named = vocabulary.with_classes(config, classes, key)
    try:
        words = segment_architecture.vocabulary(architecture(config, where), named, classes.phrases, where)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{where}: expected the config of a trained model ({reason}); run 'dvc repro train'") from error
    return {**state, **words}, named


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
    build = segment_architecture.rebuilder(architecture(config, where), config, where)
    return predict.load(build, state, config, device, precision, where)


def architecture(config: Mapping[str, Any], where: str) -> ModuleType:
    """Import the module of the architecture that a config names; `where` is the config's place, for the error line.

    Raises:
        ParamsError: there is none of the name.
    """
    return lookup.load("methods.architectures", str(config.get("architecture")), where)
