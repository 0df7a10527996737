"""One CAM method, measured in a process of its own: mIoU of its maps, seconds a frame, memory.

Seconds and memory depend on the machine. What holds on others, too, is `forwards`: how many plain passes of the image
tower over the same views of the frame, without gradient, take the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth import TruthStats, check_id_offset
from wildseg.cam.engine import CamConfig, activation_maps, input_size
from wildseg.core.errors import DataError, ModelError, ParamsError
from wildseg.core.maps import ids_of_maps
from wildseg.encoders.clip import Clip, resize
from wildseg.execution.params import Params
from wildseg.execution.runtime import worker_device
from wildseg.metrics.confusion import Confusion, mean_recall, miou
from wildseg.metrics.cost import peak_mib, timed
from wildseg.report.method_table import Row
from wildseg.stages.cam import stage as cam
from wildseg.stages.cam.labelled_frame import LabelledFrame


@dataclass(frozen=True)
class _Sample:
    """A frame in memory: image (H, W, 3) uint8, truth (H, W) uint8 ids, its name, origin and classes."""

    image: np.ndarray
    truth: np.ndarray
    frame: LabelledFrame

    @property
    def present(self) -> list[int]:
        """Indices of the classes it is labelled with."""
        return self.frame.present


def measure(params: Params, artifacts: Artifacts, frames: Sequence[Frame], device: str) -> Row:
    """Measure the method that `params` names on frames with a label and a truth; the model computes on one core.

    Raises:
        DataError: a frame, its label or its truth cannot be read.
        ModelError: the model cannot be loaded.
    """
    samples = list(_load(params, artifacts, frames))
    task = cam.make_task(params, artifacts)
    task.setup(worker_device(device, rank=0))
    model, config, num_classes = task.model, task.config, len(params.classes)
    plain = _PlainPass(model, config)
    row = Row(params.cam.method, params.cam.refined_by, len(samples))

    def maps(sample: _Sample) -> np.ndarray:
        seen = task.recollection(sample.frame, sample.image)
        found = activation_maps(model, sample.image, task.texts, sample.present, num_classes, config, seen)
        return sample.frame.kept_inside(found)[0]

    largest = max(samples, key=lambda sample: sample.truth.size * len(sample.present))
    forward_mib = peak_mib(lambda: plain.forward(plain.prepare(largest.image)), model.device)
    try:
        memory_mib = peak_mib(lambda: maps(largest), model.device)
    except (ModelError, ParamsError) as error:  # also: an option of this method alone that means nothing
        return replace(row, note=str(error))
    except (torch.OutOfMemoryError, MemoryError):
        return replace(row, note="memory ran out")
    row = replace(row, memory_mib=memory_mib, forward_mib=forward_mib)
    confusion, seconds, forwards = Confusion(num_classes + 1), [], []
    for sample in samples:
        found, own_s, forward_s = _timed_maps(sample, maps, plain)
        seconds.append(own_s)
        forwards.append(own_s / forward_s)
        stored = found.astype(np.float16).astype(np.float32)  # as on disk, and as eval reads them
        ids = ids_of_maps(np.array(sample.present), stored, sample.truth.shape, background=bool(params.background))
        confusion.add(sample.truth, ids)
    return replace(
        row,
        miou=miou(confusion.matrix),
        recall=mean_recall(confusion.matrix),
        seconds=median(seconds),
        forwards=median(forwards),
        memory_mib=memory_mib,
        forward_mib=forward_mib,
    )


def _timed_maps(
    sample: _Sample, maps: Callable[[_Sample], np.ndarray], plain: _PlainPass
) -> tuple[np.ndarray, float, float]:
    """Return the maps of a sample, their seconds, and the seconds of a plain pass over it just before."""
    pixels = plain.prepare(sample.image)
    _, forward_s = timed(lambda: plain.forward(pixels), plain.model.device)
    found, own_s = timed(lambda: maps(sample), plain.model.device)
    return found, own_s, forward_s


def _load(params: Params, artifacts: Artifacts, frames: Sequence[Frame]) -> Iterator[_Sample]:
    names, truths, seen = params.classes.names, artifacts.find_truth(frames), TruthStats()
    labels = artifacts.load_labels(names)
    tiles, boxes = artifacts.load_tiles(names, labels), cam.limits_of(params, artifacts).frames
    for frame in frames:
        image = artifacts.load_image(frame.name)
        if frame.name not in truths:
            raise DataError(f"{frame.name}: its truth was removed meanwhile; run the same again")
        mask = artifacts.read_truth(truths[frame.name], names, (image.shape[0], image.shape[1]))
        seen.add(mask)
        present = np.flatnonzero(labels[frame.name]).tolist()
        kept = boxes.get(frame.name), tiles.get(frame.name)
        yield _Sample(image, mask.ids, LabelledFrame(frame.name, present, *kept, frame.source, frame.time_s))
    check_id_offset(seen.pixels, seen.masks, names, artifacts.truth_folders[0], background=bool(params.background))


class _PlainPass:
    """A pass of the image tower over the views of a frame, without gradient: the unit of cost."""

    def __init__(self, model: Clip, config: CamConfig) -> None:
        self.model, self.config, self.tower = model, config, model.tower(config.cam.pos_embed_interpolation)

    def prepare(self, image: np.ndarray) -> list[torch.Tensor]:
        """Return the frame in each of the sizes, (1, 3, h*p, w*q); twice with a mirrored view."""
        patch, cam = self.tower.patch, self.config.cam
        sizes = [input_size(image.shape[:2], patch, scale, cam.max_side) for scale in cam.scales]
        return [self.model.pixels([resize(image, size)]) for size in sizes] * (2 if cam.flip else 1)

    @torch.no_grad()
    def forward(self, views: Sequence[torch.Tensor]) -> None:
        """Encode each view."""
        for pixels in views:
            self.tower.features(pixels)
