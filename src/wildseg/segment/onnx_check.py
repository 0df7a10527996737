"""Compares an exported file with its model: largest difference of probabilities, equal pixels, frames a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from wildseg.core.errors import ModelError, WildsegError
from wildseg.segment.deployed import Segmenter

MAX_DIFFERENCE = 1e-4  # of probabilities; sums in another order differ in their last bits
MIN_EQUAL = 0.999  # share of pixels: where two classes are equally probable, the last bits decide


@dataclass(frozen=True)
class Parity:
    """What a comparison found: `difference` of probabilities at most, `equal` share of pixels, frames a second."""

    difference: float
    equal: float
    onnx_rate: float
    torch_rate: float

    def __str__(self) -> str:
        """Return it as a part of a line."""
        return (
            f"probabilities differ by at most {self.difference:.1e}, {self.equal:.3%} of pixels are equal; "
            f"{self.onnx_rate:.2f} frames/s by onnxruntime, {self.torch_rate:.2f} by torch"
        )


def compare(model: Segmenter, path: Path, images: Sequence[np.ndarray]) -> Parity:
    """Run the file and the model on images, (H, W, 3) uint8 RGB each; the first one is run once more, to warm up.

    onnxruntime takes the fastest provider that it has, torch the device that the model is on.

    Raises:
        WildsegError: onnxruntime is not installed.
        ModelError: they differ by more than `MAX_DIFFERENCE`, or in more pixels than `MIN_EQUAL` allows.
    """
    if find_spec("onnxruntime") is None:
        raise WildsegError(
            "export: expected the package onnxruntime to compare with, not found; pip install onnxruntime"
        )
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
    of_file, onnx_rate = _timed(lambda image: session.run(["probabilities"], {"image": image[None]})[0][0], images)
    of_model, torch_rate = _timed(model.probabilities, images)
    differences = [np.abs(one - other).max() for one, other in zip(of_file, of_model, strict=True)]
    equal = [one.argmax(0) == other.argmax(0) for one, other in zip(of_file, of_model, strict=True)]
    share = sum(map(np.count_nonzero, equal)) / sum(map(np.size, equal))
    found = Parity(float(max(differences)), share, onnx_rate, torch_rate)
    if found.difference > MAX_DIFFERENCE or found.equal < MIN_EQUAL:
        raise ModelError(f"{path}: expected the file to predict what the model predicts (within {MAX_DIFFERENCE:g} and "
                         f"{MIN_EQUAL:.1%} of pixels); found: {found}")  # fmt: skip
    return found


def _timed(
    function: Callable[[np.ndarray], np.ndarray], images: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], float]:
    function(images[0])
    start = time.perf_counter()
    found = [function(image) for image in images]
    return found, len(images) / (time.perf_counter() - start)
