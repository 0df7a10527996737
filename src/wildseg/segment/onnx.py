"""A trained network as an ONNX file: from uint8 images of any size to ids and probabilities, preprocessing included.

https://onnx.ai; written by torch's exporter, which needs the packages onnx and onnxscript. What a program needs to know
of the model is in the file's metadata.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from wildseg.core.colours import palette
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

    def __init__(self, predictor: Predictor, *, confidence: bool) -> None:
        super().__init__()
        self.confidence = confidence
        self.network = predictor.network
        self.register_buffer("mean", predictor.mean.cpu())
        self.register_buffer("std", predictor.std.cpu())
        self.register_buffer("ids", predictor.ids.cpu())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return ids (B, H, W) uint8 and probabilities (B, C + 1, H, W) of images (B, H, W, 3) uint8 RGB.

        With confidence also 255 times the probability of the chosen id, (B, H, W) uint8.
        """
        pixels = (image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        probabilities = mask_invalid_classes(self.network(pixels), self.ids).softmax(1)
        found = (probabilities.argmax(1).to(torch.uint8), probabilities)
        return (*found, (255 * probabilities.amax(1)).round().to(torch.uint8)) if self.confidence else found


def export(
    predictor: Predictor,
    config: Mapping[str, Any],
    path: Path,
    *,
    confidence: bool = False,
    colours: Mapping[str, str] | None = None,
) -> Path:
    """Write `path`, see `wildseg.segment.deployed.Segmenter.export_onnx`.

    Args:
        predictor: the network with its preprocessing; it is left as it was, on its own device.
        config: of the model, see `wildseg.segment.predict.describe`.
        path: the file to write.
        confidence: whether the graph also gives the probability of the chosen id, as uint8.
        colours: those that a person chose, by class.

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
        program = _trace(_Deployed(predictor, confidence=confidence).cpu().eval())
    finally:
        predictor.network.to(predictor.device).train(training)
    _describe(program, config, colours)
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
                output_names=["ids", "probabilities", "confidence"][: 2 + deployed.confidence],
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


def _describe(program: torch.onnx.ONNXProgram, config: Mapping[str, Any], colours: Mapping[str, str] | None) -> None:
    """Name the axes of the outputs, which the exporter derives as formulas, and add what is known of the model."""
    import onnx_ir

    names = ["background", *config["classes"]]
    batch, height, width = AXES
    for output in program.model.graph.outputs:
        output.shape = onnx_ir.Shape(AXES)
    program.model.graph.outputs[1].shape = onnx_ir.Shape((batch, len(names), height, width))
    known = {
        "classes": names,
        "colours": palette(names[1:], colours)[: len(names)].tolist(),
        "ids": config["ids"],
        "architecture": config["architecture"],
        "encoder": config["encoder"],
        "preprocessing": {
            "input": "(batch, height, width, 3) uint8 RGB",
            "in_graph": "image / 255, then minus mean, divided by std, by channel",
            "mean": config["mean"],
            "std": config["std"],
        },
    }
    for name, value in known.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        program.model.metadata_props[name] = text
