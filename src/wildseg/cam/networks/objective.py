"""What a trained map method defines: the objective of its training, and the maps that its networks give afterwards.

A file of `methods/cam` whose NEEDS hold ``network`` has a function `build(context, **options)` in place of `cam`. It
returns a `MapObjective`: the stage trains it on the labels of the training frames, saves its networks, and later builds
it anew, loads what was saved and reads maps.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.training.context import TrainContext
from wildseg.training.objective import Objective
from wildseg.training.optim import OptimConfig

if TYPE_CHECKING:
    from wildseg.encoders.clip import Clip

NEEDS_NETWORK = "network"  # in NEEDS of a method that is trained
NEEDS_CLIP = "clip"  # and of one whose training uses the image-text model

# From a frame's name and its image (H, W, 3) uint8 RGB to its saliency (H, W) float32 in [0, 1], or None.
SaliencyOf = Callable[[str, np.ndarray], np.ndarray | None]


@dataclass(frozen=True)
class NetworkContext:
    """What a trained map method is built from.

    Attributes:
        class_names: C names.
        phrases: of each class, the first one its name for an image-text model.
        labels: (N, C) bool, the classes of each training frame; N may be 0 where only maps are wanted.
        training: seed, device and precision.
        clip: loads the frozen image-text model of the project, on the device; called only where a loss needs it.
        cam_method: loads a training-free method of `methods/cam` by its name and the parameter that names it.
        root: the folder that relative paths, such as of weights, start from.
    """

    class_names: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    labels: np.ndarray
    training: TrainContext
    clip: Callable[[], Clip]
    cam_method: Callable[[str, str], ModuleType]
    root: Path

    @property
    def num_classes(self) -> int:
        """The number of classes C."""
        return len(self.class_names)

    def steps(self, epochs: float, batch_size: int) -> int:
        """Return the optimiser steps of so many passes over the training frames; 0 epochs train nothing."""
        return math.ceil(epochs * len(self.labels) / batch_size)

    def weights(self, name: str | None) -> str | None:
        """Return a set of published weights by name, or the path of a file of weights from the root."""
        return str(self.root / name) if name and name.endswith((".safetensors", ".pth")) else name


@dataclass(frozen=True)
class CropConfig:
    """How training images are made from frames: resized, cropped, mirrored, their colours jittered, normalised.

    Attributes:
        crop: side of the square result in pixels; what lies outside of the frame is 0 after normalisation.
        batch_size: images of a step.
        resize: which side of the frame is resized, ``"long"`` or ``"short"``.
        size: smallest and largest length of that side in pixels, between which it is drawn.
        flip: probability of a left-right flip.
        jitter: of brightness, contrast, saturation and hue, as in torchvision's ColorJitter.
        saliency: whether batches hold saliency, cropped like the image.
    """

    crop: int
    batch_size: int
    resize: Literal["long", "short"] = "long"
    size: tuple[int, int] = (320, 640)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    saliency: bool = False


@dataclass(frozen=True)
class TrainingFrames:
    """The training frames of a network that was trained before, for an objective that follows it.

    Attributes:
        labels: (N, C) bool.
        images: yields each (H, W, 3) uint8 RGB, in the order of `labels`; may be called again.
        maps: of an objective and an image, the classes asked about: (K, h, w) float32 in [0, 1], over the scales and
            flips of the stage.
    """

    labels: np.ndarray
    images: Callable[[], Iterable[np.ndarray]]
    maps: Callable[[MapObjective, np.ndarray, Sequence[int]], np.ndarray]


@dataclass
class MapObjective(Objective):
    """A training objective whose networks give activation maps. Subclasses define `loss` and `maps`.

    A batch holds `image` (B, 3, S, S) float32 normalised by `norm`, `labels` (B, C) float32 of 0 and 1, `index` (B,)
    int64 numbers of training frames; where `crops.saliency`, also `saliency` (B, 1, S, S) in [0, 1] and `has_saliency`
    (B,) bool. Where tiles are labelled, `labels` are those of the tiles in view, and the batch also holds what
    `wildseg.cam.networks.bags.bag_loss` needs: `tiles`, `window` and `positive`. Everything random in `loss` is drawn
    from torch's default generator of the device, which is seeded by (seed, step).

    Attributes:
        networks: trained and checkpointed, by name.
        optim: optimiser, schedule and number of steps.
        crops: how training images are made.
        norm: mean and deviation of the images, in training and for maps.
        stride: pixels of an image per cell of the maps; images are resized to multiples of it.
        saved: names of the networks that maps need; these alone are saved. Buffers of them, such as a prior, are too.
        first: an objective to be trained before this one, or None.
        saliency: from where batches take it, if `crops.saliency`.
        mirrored: whether maps may also be averaged with those of mirrored images; not where a network knows places.
        stretched: whether maps of each scale and flip are stretched to [0, 1] before they are averaged, as those of
            training-free methods. By default the mean is of maps as `maps` returns them; it is rectified and divided by
            its largest value, as CLIMS, L2G and P-CAM were published.
    """

    optim: OptimConfig
    crops: CropConfig
    norm: Normalisation
    stride: int
    saved: tuple[str, ...]
    first: MapObjective | None = field(default=None, kw_only=True)
    saliency: SaliencyOf | None = field(default=None, kw_only=True)
    mirrored: bool = field(default=True, kw_only=True)
    stretched: bool = field(default=False, kw_only=True)

    @abstractmethod
    def maps(self, pixels: Tensor, classes: Sequence[int]) -> Tensor:
        """Return maps of one image at one scale, not normalised: (K, h, w), at least 0 if they are `stretched`.

        The networks are in evaluation mode. Gradients are off, and may be switched on inside.

        Args:
            pixels: (1, 3, H', W') float32 normalised, H' and W' multiples of `stride`.
            classes: the K queried classes.
        """

    def remarks(self) -> Iterable[str]:
        """Yield what a person should know before the training, a line each; by default nothing."""
        return ()

    def follow(self, first: MapObjective, frames: TrainingFrames) -> None:
        """Take over what `first`, which was trained by now, has learned; by default its networks of the same names.

        Buffers and parameters that `first` does not have stay as they were built.
        """
        for name, network in self.networks.items():
            if name in first.networks:
                network.load_state_dict(first.networks[name].state_dict(), strict=False)
