"""Rendered slices of a body for C-CAM: organs at fixed places, tissue that looks like them anywhere, and their truth.

Three organs of different tissue lie at the same places in each slice but for a little jitter, with blurred borders; the
first two are mostly together. The body and its spine are in every slice. Where an organ is, bits of its tissue appear
elsewhere in the body, too: labels cannot tell them from the organ, places can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from tests.cam.networks.rendered import TinyBackbone, cam
from wildseg.cam.networks import fit
from wildseg.cam.networks.classifier import ClassifierNet, ClassifierObjective
from wildseg.cam.networks.data import LabelledImages
from wildseg.cam.networks.engine import network_maps
from wildseg.cam.networks.objective import CropConfig, MapObjective
from wildseg.metrics.confusion import Confusion, miou
from wildseg.training.context import TrainContext
from wildseg.training.optim import OptimConfig

SIDE = 48
NAMES = ("liver", "spleen", "kidney")
CENTRES = ((18, 15), (19, 34), (34, 22))  # y, x
RADII = ((8, 7), (6, 7), (5, 7))
TISSUES = np.array(((0.75, 0.45, 0.40), (0.42, 0.62, 0.45), (0.45, 0.45, 0.72)))
BITS = 1.5  # of an organ's tissue elsewhere in a slice, on average
CROPS = CropConfig(SIDE, 16, "long", (SIDE, SIDE), flip=0.5)
THRESHOLDS = np.arange(0.1, 0.75, 0.05)


@dataclass(frozen=True)
class Slices:
    """Images (N, S, S, 3) uint8, truth (N, S, S) uint8 with ids from 1, 0 elsewhere; labels (N, 3) bool."""

    images: np.ndarray
    truth: np.ndarray
    labels: np.ndarray

    def frames(self) -> LabelledImages:
        """The slices as a training reads them, named by their numbers."""
        names = [str(number) for number in range(len(self.images))]
        return LabelledImages(names, self.labels, lambda name: self.images[int(name)].copy())


def slices(number: int, seed: int) -> Slices:
    """Render slices; the first two organs agree in four of five."""
    random = np.random.default_rng(seed)
    liver = random.random(number) < 0.7
    spleen = liver ^ (random.random(number) < 0.2)
    labels = np.stack([liver, spleen, random.random(number) < 0.6], 1)
    images, truths = zip(*(_slice(random, present) for present in labels), strict=True)
    return Slices(np.stack(images), np.stack(truths), labels)


def _slice(random: np.random.Generator, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((SIDE, SIDE, 3), 0.05)
    image = _paint(image, _radius((24, 24), (21, 22)), np.full(3, 0.4), 1)
    image = _paint(image, _radius((40, 24), (3, 4)), np.full(3, 0.65), 1)
    truth = np.zeros((SIDE, SIDE), np.uint8)
    for organ in np.flatnonzero(present):
        centre = np.array(CENTRES[organ]) + random.normal(0, 0.7, 2)
        radius = _radius(centre, np.array(RADII[organ]) * random.uniform(0.85, 1.1, 2))
        truth[radius < 1] = organ + 1
        image = _paint(image, radius, TISSUES[organ], random.uniform(0.7, 1))
    for organ in np.flatnonzero(present).repeat(random.poisson(BITS, present.sum())):
        radius = _radius(_elsewhere(random, organ), np.array(RADII[organ]) * random.uniform(0.5, 0.8))
        image = _paint(image, np.where(truth > 0, np.inf, radius), TISSUES[organ], random.uniform(0.7, 1))
    noisy = image + random.normal(0, 0.03, image.shape)
    return (noisy.clip(0, 1) * 255).astype(np.uint8), truth


def _elsewhere(random: np.random.Generator, organ: int) -> np.ndarray:
    """A place in the body that is none of an organ's."""
    while True:
        place = random.uniform(8, 40, 2)
        if _radius((24, 24), (18, 19))[tuple(place.astype(int))] < 1:
            apart = (place - np.array(CENTRES[organ])) / np.array(RADII[organ])
            if np.hypot(*apart) > 1.8:
                return place


def _radius(centre: Sequence[float] | np.ndarray, radii: Sequence[float] | np.ndarray) -> np.ndarray:
    """Distance from the centre of an ellipse, 1 on its border: (S, S)."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.hypot((rows - centre[0]) / radii[0], (columns - centre[1]) / radii[1])


def _paint(image: np.ndarray, radius: np.ndarray, colour: np.ndarray, opacity: float) -> np.ndarray:
    with np.errstate(over="ignore"):
        weight = opacity / (1 + np.exp((radius - 1) / 0.12))[..., None]  # a blurred border
    return image * (1 - weight) + colour * weight


# Training and maps ---------------------------------------------------------------------------------------------------


def classifier() -> ClassifierNet:
    """A tiny network of 3 classes at a stride of 4."""
    trunk = TinyBackbone()
    return ClassifierNet(trunk, trunk.channels[-1], len(NAMES))


def optim(steps: int, lr: float = 0.01) -> OptimConfig:
    """AdamW, with which random weights learn in few steps."""
    return OptimConfig(steps, lr, weight_decay=1e-4)


def pcam(steps: int, seed: int) -> ClassifierObjective:
    """P-CAM of a tiny network."""
    torch.manual_seed(seed)
    return ClassifierObjective(classifier(), TinyBackbone.norm, optim(steps), CROPS, 4, TrainContext(seed), head_lr=1.0)


def train(objective: MapObjective, data: Slices, seed: int) -> list[float]:
    """Train all phases of an objective; return the last loss of each."""
    losses: dict[int, float] = {}
    for progress in fit.train(objective, data.frames(), TrainContext(seed), cam()):
        if progress.event.loss is not None:
            losses[progress.phase] = progress.event.loss
    return list(losses.values())


def map_mious(objective: MapObjective, data: Slices) -> np.ndarray:
    """The mIoU, with background, of the maps' masks at each of `THRESHOLDS`."""
    confusions = [Confusion(len(NAMES) + 1) for _ in THRESHOLDS]
    for image, truth, present in zip(data.images, data.truth, data.labels, strict=True):
        classes = np.flatnonzero(present)
        maps = torch.from_numpy(network_maps(objective, image, classes.tolist(), cam(), "cpu"))
        large = np.zeros((0, SIDE, SIDE), np.float32)
        if len(classes):
            large = F.interpolate(maps[None], (SIDE, SIDE), mode="bilinear", align_corners=False)[0].numpy()
        ids = np.concatenate([[0], classes + 1])
        for confusion, threshold in zip(confusions, THRESHOLDS, strict=True):
            ground = np.full((1, SIDE, SIDE), threshold, np.float32)
            confusion.add(truth, ids[np.concatenate([ground, large]).argmax(0)])
    return np.array([miou(confusion.matrix) for confusion in confusions])
