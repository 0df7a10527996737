"""What a worker does with frames: predict their ids, unless they are there, and write all that was chosen of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts import predictions
from wildseg.artifacts.predictions import PredictionFolder
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError, SystemFailure
from wildseg.execution.result_store import key_of
from wildseg.execution.runtime import worker_device
from wildseg.report.drawing import overlaid
from wildseg.segment.vocabulary import classes_of
from wildseg.stages.prediction.inputs import FrameItem

if TYPE_CHECKING:  # a worker imports torch when the first frame is to be predicted
    import torch

    from wildseg.segment.predict import Predictor

CLASSES = "--classes"  # for error lines


@dataclass(frozen=True)
class PredictionConfig:
    """How to predict.

    model: the folder of the trained model. scales, flip, max_side: see `Predictor.probabilities`. window: of a sliding
    window, in pixels; None for the whole image. overlap: share of a window. roles: what to write beside ids. classes:
    words of other classes than the trained ones; none for these. colours: name and colour of each class that a person
    chose one for.
    """

    model: Path
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: int | None = None
    overlap: float = 0.25
    max_side: int | None = None
    roles: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    colours: tuple[tuple[str, str], ...] = ()

    def inference(self) -> dict[str, Any]:
        """Return the keyword arguments of `Predictor.probabilities`; torch is imported."""
        from wildseg.segment.windows import Window

        window = Window(self.window, self.overlap) if self.window else None
        return {"scales": self.scales, "flip": self.flip, "window": window, "max_side": self.max_side}


@dataclass(frozen=True)
class Done:
    """A frame that was predicted: pixels by id, whether they were there already, its picture where one is wanted."""

    frame: str
    time_s: float
    pixels: np.ndarray
    cached: bool
    picture: np.ndarray | None


@dataclass(frozen=True)
class Failed:
    """A frame that could not be read, and why."""

    frame: str
    reason: str


@dataclass
class Tools:
    """What a worker holds; the model is loaded when it is first needed.

    root: of the project. base: what keys of all frames have in common. palette: (256, 3) uint8 RGB by id. device: a
    torch device, or ``auto``. rank: of the worker.
    """

    root: Path
    config: PredictionConfig
    folder: PredictionFolder
    base: str
    palette: np.ndarray
    device: str
    rank: int

    @cached_property
    def predictor(self) -> Predictor:
        """The network with its preprocessing."""
        from wildseg.methods import predictor

        words = self.config.classes
        classes = classes_of(words, CLASSES) if words else None
        return predictor.load(self.config.model, worker_device(self.device, self.rank), classes=classes)[0]


@dataclass(frozen=True)
class Job:
    """Frames that are handed to a worker at once; `pictures`: whether their pictures, for a video, come back."""

    items: Sequence[FrameItem]
    pictures: bool = False


def predict_job(job: Job, tools: Tools) -> list[Done | Failed]:
    """Predict the frames of a job, write them, and return what came of each, in their order."""
    found: dict[str, Done | Failed] = {}
    missing: list[tuple[FrameItem, np.ndarray, str]] = []
    for item in job.items:
        try:
            image = item.load(Artifacts(tools.root))
        except SystemFailure:
            raise
        except DataError as error:
            tools.folder.remove(item.name)
            found[item.name] = Failed(item.name, str(error))
            continue
        key = key_of([tools.base, [*image.shape], hashlib.sha256(np.ascontiguousarray(image).data).digest()])
        if tools.folder.key_of(item.name) == key:
            found[item.name] = _done(item, image, tools.folder.load_ids(item.name), job, tools, cached=True)
        else:
            missing.append((item, image, key))
    predicted = _predict([image for _, image, _ in missing], tools) if missing else ()
    for (item, image, key), (ids, probabilities) in zip(missing, predicted, strict=True):
        tools.folder.save(item.name, key, ids, tools.palette, _others(ids, probabilities, image, job, tools))
        found[item.name] = _done(item, image, ids, job, tools, cached=False)
    return [found[item.name] for item in job.items]


def _predict(images: Sequence[np.ndarray], tools: Tools) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Yield ids (H, W) uint8 and probabilities (C + 1, H, W), on the device, of each image, in order."""
    import torch

    from wildseg.segment.predict import PIXELS

    options = tools.config.inference()
    for shape, same_size in groupby(images, key=np.shape):
        while batch := list(islice(same_size, max(1, PIXELS // (shape[0] * shape[1])))):
            for probabilities in tools.predictor.probabilities(np.stack(batch), **options):
                yield probabilities.argmax(0).to(torch.uint8).cpu().numpy(), probabilities


def _others(
    ids: np.ndarray, probabilities: torch.Tensor, image: np.ndarray, job: Job, tools: Tools
) -> dict[str, bytes]:
    """Return the files of a frame beside its ids, by role; of a video, the overlay is a video of its own."""
    written: dict[str, bytes] = {}
    roles = tools.config.roles
    if "confidence" in roles:
        written["confidence"] = predictions.encode_confidence(probabilities.amax(0).cpu().numpy())
    if "overlay" in roles and not job.pictures:
        written["overlay"] = predictions.encode_overlay(overlaid(ids, image, tools.palette))
    if "probabilities" in roles:
        written["probabilities"] = predictions.encode_probabilities(probabilities.cpu().numpy())
    if "costmap" in roles:
        written["costmap"] = predictions.encode_costmap(ids)
    return written


def _done(item: FrameItem, image: np.ndarray, ids: np.ndarray, job: Job, tools: Tools, *, cached: bool) -> Done:
    picture = overlaid(ids, image, tools.palette) if job.pictures else None
    return Done(item.name, item.time_s, np.bincount(ids.ravel(), minlength=256), cached, picture)
