"""Eight rendered frames with truth, and how well the maps of a network fit them before and after it is trained."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from wildseg.cam.networks import fit
from wildseg.cam.networks.data import LabelledImages
from wildseg.cam.networks.engine import network_maps
from wildseg.cam.networks.objective import MapObjective, NetworkContext
from wildseg.cam.params import Cam
from wildseg.core import lookup
from wildseg.encoders.clip import Clip
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.execution import defaults
from wildseg.metrics.evaluation import evaluate
from wildseg.training.context import TrainContext
from wildseg_demo.world.surfaces import NAMES
from wildseg_demo.world.world import build_world

KINDS = ("street", "park", "sidewalk", "plaza", "trail", "street", "park", "plaza")
LEAST = 0.003  # share of a frame from which a class counts as present
SCALES = (1.0,)


@cache
def frames() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (8, H, W, 3) uint8, truths (8, H, W) ids from 1, labels (8, 10) bool."""
    views = [build_world(seed, kind).render(3.0) for seed, kind in enumerate(KINDS)]
    truths = np.stack([truth for _, truth in views])
    share = np.stack([(truths == number).mean((1, 2)) for number in range(1, len(NAMES) + 1)], 1)
    return np.stack([image for image, _ in views]), truths, share > LEAST


def images() -> LabelledImages:
    """The frames as a training reads them, named by their numbers."""
    return LabelledImages([str(number) for number in range(8)], frames()[2], lambda name: frames()[0][int(name)].copy())


def cam(**values: object) -> Cam:
    """The section cam at one scale."""
    return defaults.section(Cam, "cam", **{"scales": SCALES, **values})


def context(root: Path = Path(), clip: Clip | None = None, seed: int = 0) -> NetworkContext:
    """What the methods build their objectives from."""

    def load() -> Clip:
        assert clip is not None, "this method needs no image-text model"
        return clip

    names = tuple(name.replace("_", " ") for name in NAMES)
    return NetworkContext(
        NAMES, tuple((name,) for name in names), frames()[2], TrainContext(seed), load,
        lambda name, key: lookup.load("methods.cam", name, key), root,
    )  # fmt: skip


def map_miou(objective: MapObjective) -> float:
    """The mIoU of the classes whose maps are the highest, among those that are present."""
    for network in objective.networks.values():
        network.eval()
    predictions = []
    for image, present in zip(frames()[0], frames()[2], strict=True):
        classes = np.flatnonzero(present)
        maps = torch.from_numpy(network_maps(objective, image, classes.tolist(), cam(), "cpu"))
        large = F.interpolate(maps[None], image.shape[:2], mode="bilinear", align_corners=False)[0]
        predictions.append((classes[large.argmax(0).numpy()] + 1).astype(np.uint8))
    return evaluate(zip(predictions, frames()[1], strict=True), ("background", *NAMES)).miou


def train(objective: MapObjective, seed: int = 0) -> list[fit.Progress]:
    """Train all phases of an objective on the frames."""
    return list(fit.train(objective, images(), TrainContext(seed), cam()))


class TinyBackbone(torch.nn.Module):
    """Three convolutions at a stride of 4: enough to tell surfaces by their colours."""

    channels = (16, 32)
    strides = (2, 4)
    norm = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.ReLU())
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(16, 32, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 1), torch.nn.ReLU()
        )

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        fine = self.stem(pixels)
        return [fine, self.body(fine)]
