"""The trained model as MLflow loads it: ``mlflow.pyfunc.load_model(uri).predict(image)`` gives a label image.

MLflow imports this module and calls `_load_pyfunc` on the copy of models/segmenter that it keeps: code and
safetensors, so that no pickle is written or read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from wildseg.core import lookup
from wildseg.core.errors import DataError, check_regular
from wildseg.core.files import load_json
from wildseg.segment import predict


class Segmenter:
    """A model that takes one image."""

    def __init__(self, predictor: predict.Predictor) -> None:
        """Keep the network."""
        self._predictor = predictor

    def predict(self, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        """Return ids (H, W) uint8, 0 background, then the classes of the model's metadata, of (H, W, 3) uint8 RGB."""
        del params  # MLflow passes them to every model; this one has none
        return next(self._predictor.predict([np.asarray(model_input, np.uint8)]))


def _load_pyfunc(data_path: str) -> Segmenter:
    folder = Path(data_path)
    config = load_json(folder / "config.json")
    build = lookup.load("methods.architectures", str(config.get("architecture")), "config.json").build
    weights = folder / "model.safetensors"
    try:
        check_regular(weights)
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{weights}: expected the weights of a model ({error})") from error
    return Segmenter(predict.load(build, state, config))
