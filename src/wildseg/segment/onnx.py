"""A trained network as an ONNX file: from uint8 images of any size to ids and probabilities, preprocessing included.

https://onnx.ai; written by torch's exporter, which needs the packages onnx and onnxscript.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from wildseg.core.errors import ModelError, WildsegError, words_of
from wildseg.core.files import atomic
from wildseg.segment.losses import mask_invalid_classes
from wildseg.segment.predict import Predictor

LIBRARIES = ("onnx", "onnxscript")
EXAMPLE = (2, 96, 128)  # of a batch, height, width; the graph is of any
AXES = ("batch", "height", "width")


class _Deployed(torch.nn.Module):
    """Preprocessing, network and decision as one module, on the CPU and in single precision."""

    mean: torch.Tensor
    std: torch.Tensor
    ids: torch.Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.network = predictor.network
        self.register_buffer("mean", predictor.mean.cpu())
        self.register_buffer("std", predictor.std.cpu())
        self.register_buffer("ids", predictor.ids.cpu())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids (B, H, W) uint8 and probabilities (B, C + 1, H, W) of images (B, H, W, 3) uint8 RGB."""
        pixels = (image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        probabilities = mask_invalid_classes(self.network(pixels), self.ids).softmax(1)
        return probabilities.argmax(1).to(torch.uint8), probabilities


def export(predictor: Predictor, class_names: Sequence[str], path: Path) -> Path:
    """Write `path`, see `wildseg.segment.deployed.Segmenter.export_onnx`.

    Args:
        predictor: the network with its preprocessing; it is left as it was, on its own device.
        class_names: by id.
        path: the file to write.

    Raises:
        WildsegError: onnx or onnxscript is not installed.
        ModelError: the network cannot be expressed in ONNX.
    """
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        raise WildsegError(
            f"export_onnx: expected the packages {' and '.join(LIBRARIES)}, {' and '.join(missing)} not found; "
            "run pip install 'wildseg[onnx]'"
        )
    training = predictor.network.training
    try:
        program = _trace(_Deployed(predictor).cpu().eval())
    finally:
        predictor.network.to(predictor.device).train(training)
    _describe(program, class_names)
    with atomic(path) as temporary:
        program.save(temporary, external_data=False)
    return path


def _trace(deployed: _Deployed) -> torch.onnx.ONNXProgram:
    sizes = dict(enumerate(AXES))
    example = torch.zeros((*EXAMPLE, 3), dtype=torch.uint8)
    try:
        with _quiet():
            program = torch.onnx.export(
                deployed,
                (example,),
                input_names=["image"],
                output_names=["ids", "probabilities"],
                dynamic_shapes=(sizes,),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ModelError(
            f"export_onnx: this network cannot be expressed in ONNX ({words_of(str(error))[:300]})"
        ) from error
    if program is None:
        raise ModelError("export_onnx: torch's exporter returned no graph")
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    # What the exporter warns of and logs is about its own parts.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _describe(program: torch.onnx.ONNXProgram, class_names: Sequence[str]) -> None:
    """Name the axes of the outputs, which the exporter derives as formulas, and add the names of the classes."""
    import onnx_ir

    ids, probabilities = program.model.graph.outputs
    batch, height, width = AXES
    ids.shape = onnx_ir.Shape(AXES)
    probabilities.shape = onnx_ir.Shape((batch, len(class_names), height, width))
    program.model.metadata_props["classes"] = json.dumps(list(class_names), ensure_ascii=False)
