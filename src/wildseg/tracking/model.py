"""The trained model as MLflow loads it: ``mlflow.pyfunc.load_model(uri).predict(image)`` gives a label image.

MLflow imports this module and calls `_load_pyfunc` on the copy of models/segmenter that it holds: code and
safetensors, so that no pickle is written or read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wildseg.methods import segmenter
from wildseg.segment.deployed import Segmenter


class PyfuncSegmenter:
    """A segmenter with the interface of MLflow's python functions."""

    def __init__(self, model: Segmenter) -> None:
        """Wrap a loaded segmenter."""
        self._model = model

    def predict(self, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        """Return ids (H, W) uint8, 0 background, then the classes of the model's metadata, of (H, W, 3) uint8 RGB."""
        del params  # MLflow passes them to every model; this one has none
        return self._model.predict(np.asarray(model_input, np.uint8))


def _load_pyfunc(data_path: str) -> PyfuncSegmenter:
    return PyfuncSegmenter(segmenter.load(Path(data_path)))
