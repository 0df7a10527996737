"""One CAM method, measured in a process of its own: mIoU of its maps, seconds a frame, memory.

Seconds and memory say something about a machine. What carries over to another one is how often the image tower could
have looked at the frame instead, in one plain pass without gradient at each of the same sizes: `forwards`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth import Seen, check_start
from wildseg.cam.engine import CamConfig, activation_maps, input_size
from wildseg.cli.compare.memory import peak_mib
from wildseg.cli.compare.table import Row
from wildseg.core.errors import DataError, ModelError, ParamsError
from wildseg.core.maps import ids_of_maps
from wildseg.core.params import Params
from wildseg.encoders.clip import Clip, resize
from wildseg.execution.runtime import worker_device
from wildseg.metrics.confusion import Confusion, mean_recall, miou
from wildseg.stages import cam


@dataclass(frozen=True)
class _Sample:
    """A frame in memory: image (H, W, 3) uint8, truth (H, W) uint8 ids, indices of the classes it is labelled with."""

    image: np.ndarray
    truth: np.ndarray
    present: list[int]


def measure(params: Params, artifacts: Artifacts, frames: Sequence[Frame], device: str) -> Row:
    """Measure the method that `params` names on frames with a label and a truth; the model computes on one core.

    Raises:
        DataError: a frame, its label or its truth cannot be read.
        ModelError: the model cannot be had.
    """
    samples = list(_load(params, artifacts, frames))
    task = cam.make_task(params, artifacts)
    task.setup(worker_device(device, rank=0))
    model, config, num_classes = task.model, task.config, len(params.classes)
    looks = _Looks(model, config)

    def maps(sample: _Sample) -> np.ndarray:
        return activation_maps(model, sample.image, task.texts, sample.present, num_classes, config)

    row = Row(params.cam.method, params.cam.refine, len(samples))
    largest = max(samples, key=lambda sample: sample.truth.size * len(sample.present))
    forward_mib = peak_mib(lambda: looks.forward(looks.prepare(largest.image)), model.device)
    try:
        memory_mib = peak_mib(lambda: maps(largest), model.device)
    except (ModelError, ParamsError) as error:  # also: an option of this method alone that means nothing
        return replace(row, note=str(error))
    except (torch.OutOfMemoryError, MemoryError):
        return replace(row, note="memory ran out")
    row = replace(row, memory_mib=memory_mib, forward_mib=forward_mib)

    confusion = Confusion(num_classes + 1)
    seconds, forwards = [], []
    for sample in samples:
        pixels = looks.prepare(sample.image)
        _, forward_s = _timed(lambda pixels=pixels: looks.forward(pixels), model.device)  # type: ignore[misc]
        found, own_s = _timed(lambda sample=sample: maps(sample), model.device)  # type: ignore[misc]
        seconds.append(own_s)
        forwards.append(own_s / forward_s)
        stored = found.astype(np.float16).astype(np.float32)  # as they are kept, and as eval sees them
        ids = ids_of_maps(np.array(sample.present), stored, sample.truth.shape, background=bool(params.background))
        confusion.add(sample.truth, ids)
    return replace(
        row,
        miou=miou(confusion.matrix),
        recall=mean_recall(confusion.matrix),
        seconds=median(seconds),
        forwards=median(forwards),
    )


def _load(params: Params, artifacts: Artifacts, frames: Sequence[Frame]) -> Iterator[_Sample]:
    names, truths, seen = params.classes.names, artifacts.find_truth(frames), Seen()
    labels = artifacts.load_labels(names)
    for frame in frames:
        image = artifacts.load_image(frame.name)
        if frame.name not in truths:
            raise DataError(f"{frame.name}: its truth was there a moment ago; run the same again")
        mask = artifacts.read_truth(truths[frame.name], names, (image.shape[0], image.shape[1]))
        seen.add(mask)
        yield _Sample(image, mask.ids, np.flatnonzero(labels[frame.name]).tolist())
    check_start(seen.pixels, seen.masks, names, artifacts.truth_folders[0], background=bool(params.background))


class _Looks:
    """What a configuration shows to the image tower of a frame, and a plain pass over it: the unit of cost."""

    def __init__(self, model: Clip, config: CamConfig) -> None:
        self.model, self.config, self.tower = model, config, model.tower(config.positions)

    def prepare(self, image: np.ndarray) -> list[torch.Tensor]:
        """Return the frame in each of the sizes, (1, 3, h*p, w*q); twice if it is also looked at mirrored."""
        patch = self.tower.patch
        sizes = [input_size(image.shape[:2], patch, scale, self.config.max_side) for scale in self.config.scales]
        return [self.model.pixels([resize(image, size)]) for size in sizes] * (2 if self.config.flip else 1)

    @torch.no_grad()
    def forward(self, looks: Sequence[torch.Tensor]) -> None:
        for pixels in looks:
            self.tower.features(pixels)


def _timed(work: Callable[[], np.ndarray | None], device: torch.device) -> tuple[np.ndarray, float]:
    _wait(device)  # what came before is not this work's
    start = time.perf_counter()
    result = work()
    _wait(device)
    return result, time.perf_counter() - start  # type: ignore[return-value]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":  # which is only handed its work
        torch.cuda.synchronize(device)
