"""Explains predictions of the trained model: from a frame and a class to evidence maps of the model's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.colours import palette
from wildseg.core.errors import DataError, WildsegError, did_you_mean
from wildseg.core.names import is_plain
from wildseg.methods import segmenter
from wildseg.report.explanation import Sheet, Strip, draw
from wildseg.segment.explain import layers as network_layers
from wildseg.segment.explain import regions
from wildseg.segment.explain.components import colours, principal_components
from wildseg.segment.explain.evidence import evidence_map, grid_covers, record
from wildseg.segment.explain.layers import Layer

# By the name on the command line: the file of methods/cam, its heading, and its interpretation.
METHODS = {
    "seg_gradcam": ("gradcam", "Seg-Grad-CAM", "kinds of structure that support the prediction, anywhere in the frame"),
    "hirescam": ("hirescam", "HiResCAM", "where the evidence for these very pixels lies"),
}
FEATURES = (
    "Features",
    "cells of one colour have similar features, as far as three components show (percent of the variance); "
    "colours are not comparable between images",
)


@dataclass(frozen=True)
class ExplanationRequest:
    """The options of an explanation.

    pixel: x, y; box: x0, y0, x1, y1, the last two exclusive; everywhere: all pixels. Without any of the three, the
    target is the pixels predicted as the class. layers: by name; none means the stages. methods: of METHODS. features:
    also show the principal components of each layer.
    """

    pixel: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    everywhere: bool = False
    layers: Sequence[str] = ()
    methods: Sequence[str] = tuple(METHODS)
    features: bool = False


@dataclass(frozen=True)
class Explanation:
    """The result: maps (methods, layers, H, W) float32 in [0, 1], the names of both axes, and the sheet."""

    layers: Sequence[str]
    methods: Sequence[str]
    maps: np.ndarray
    sheet: Sheet


@dataclass(frozen=True)
class _LayerResult:
    """The maps of one layer (methods, H, W); its features (H, W, 3) uint8 and the variance that they explain."""

    maps: np.ndarray
    features: np.ndarray | None
    share: float


class Explainer:
    """The trained model of a project."""

    def __init__(self, artifacts: Artifacts, device: str = "cpu", own_colours: Mapping[str, str] | None = None) -> None:
        """Load the model and find its layers; `own_colours` are those that a person chose, by class.

        Raises:
            DataError: there is no model yet, or a file is broken.
        """
        model = segmenter.assemble(*artifacts.load_segmenter(), device, where=str(artifacts.segmenter_folder))
        self._predictor = model.predictor
        self._network = self._predictor.network.requires_grad_(False)  # only gradients of layers are needed
        self.names = _plain_names(model.class_names)
        self._palette = palette(self.names[1:], own_colours)
        self.layers = network_layers.find(self._network, device)

    def class_id(self, name: str) -> int:
        """Return the id of a class that the model may predict.

        Raises:
            WildsegError: there is no such class.
        """
        known = [self.names[value] for value in self._predictor.ids.tolist()]
        if name not in known:
            raise WildsegError(
                f"--class: expected a class of the model: {', '.join(known)}; found {name!r}{did_you_mean(name, known)}"
            )
        return self.names.index(name)

    def explain(self, title: str, image: np.ndarray, name: str, request: ExplanationRequest) -> Explanation:
        """Explain the prediction of the class `name` in one frame, (H, W, 3) uint8 RGB.

        The prediction is that of a single scale, without flipping.

        Raises:
            WildsegError: a requested class, layer or pixel does not exist.
        """
        value, layers = self.class_id(name), self.layers.chosen(request.layers)
        probabilities = self._predictor.probabilities(image[None])[0].cpu().numpy()  # (C + 1, H, W)
        prediction = probabilities.argmax(0).astype(np.uint8)
        region, target = _region(request, prediction, value, name)
        pixels = self._predictor.normalised(image[None])
        weights = torch.from_numpy(region).to(pixels.device)
        results = [self._explain_layer(layer, pixels, weights, value, request) for layer in layers]
        sheet = Sheet(
            title=f"{title}: {name}",
            target=target,
            class_id=value,
            image=image,
            prediction=prediction,
            probability=probabilities[value],
            region=region,
            layers=[f"{layer.name}, 1/{layer.stride:g}" for layer in layers],
            strips=_strips(results, request),
        )
        maps = np.stack([result.maps for result in results], axis=1)
        return Explanation([layer.name for layer in layers], request.methods, maps, sheet)

    def draw(self, explanation: Explanation) -> np.ndarray:
        """Draw the sheet: (height, width, 3) uint8 RGB."""
        return draw(explanation.sheet, self.names, self._palette)

    def _explain_layer(
        self, layer: Layer, pixels: Tensor, region: Tensor, value: int, request: ExplanationRequest
    ) -> _LayerResult:
        trace = record(self._network, layer.name, pixels, region, value)
        covered = grid_covers(self._network, trace.size)
        methods = [lookup.load("methods.cam", METHODS[method][0]) for method in request.methods]
        maps = np.stack([evidence_map(trace, method, covered).cpu().numpy() for method in methods])
        if not request.features:
            return _LayerResult(maps, None, 0.0)
        scores, shares = principal_components(trace.activations[0])
        return _LayerResult(maps, _cells(colours(scores.cpu().numpy()), covered, trace.size), float(shares.sum()))


def _plain_names(names: tuple[str, ...]) -> tuple[str, ...]:
    # They become names of files.
    if invalid := [name for name in names if not (isinstance(name, str) and is_plain(name))]:
        raise DataError(
            f"models/segmenter: expected plain names of classes; found {invalid[0]!r}; run 'dvc repro train'"
        )
    return names


def _region(request: ExplanationRequest, prediction: np.ndarray, value: int, name: str) -> tuple[np.ndarray, str]:
    """Return the target pixels, (H, W) float32, and their description."""
    height, width = prediction.shape
    if request.pixel is not None:
        x, y = request.pixel
        return regions.pixel((height, width), x, y), f"target: the pixel {x},{y}"
    if request.box is not None:
        x0, y0, x1, y1 = request.box
        return regions.box((height, width), x0, y0, x1, y1), f"target: the box {x0},{y0},{x1},{y1}"
    if request.everywhere:
        return regions.everywhere((height, width)), "target: all pixels"
    region = regions.predicted_as(prediction, value)
    share = f", {region.mean():.1%} of the frame" if region.any() else ": there are none, so all maps are zero"
    return region, f"target: the pixels predicted as {name}{share}"


def _strips(results: Sequence[_LayerResult], request: ExplanationRequest) -> list[Strip]:
    strips = []
    for index, method in enumerate(request.methods):
        maps = [result.maps[index] for result in results]
        strips.append(Strip(*METHODS[method][1:], maps, ["" if each.any() else ": nothing" for each in maps]))
    pictures = [result.features for result in results if result.features is not None]
    if pictures:
        strips.append(Strip(*FEATURES, pictures, [f": {result.share:.0%}" for result in results]))
    return strips


def _cells(picture: np.ndarray, covered: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Enlarge a picture of cells (h, w, 3) to the frame's (H, W, 3), each cell of one colour."""
    large = Image.fromarray(picture).resize(covered[::-1], Image.Resampling.NEAREST)
    return np.asarray(large)[: size[0], : size[1]]
