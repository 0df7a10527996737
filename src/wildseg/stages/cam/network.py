"""Before the maps: the network of a trained map method, trained once on the labels of the training frames."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wildseg.artifacts.project import Artifacts
from wildseg.cam.networks import fit, untrained
from wildseg.cam.networks.bags import positive_weights
from wildseg.cam.networks.data import LabelledImages
from wildseg.cam.networks.objective import NEEDS_CLIP, MapObjective
from wildseg.cam.networks.saliency import SaliencyFolder
from wildseg.core import lookup
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir
from wildseg.core.progress import track
from wildseg.encoders.cnn.build import loaded
from wildseg.encoders.precision import resolve_precision
from wildseg.encoders.weights import identity
from wildseg.execution import fingerprint, large_entries
from wildseg.execution.failures import Failures
from wildseg.execution.result_store import ResultStore, fields_but, key_of, note, versions
from wildseg.execution.runtime import Runtime, gpus, torch_device
from wildseg.stages.cam import training_frames
from wildseg.stages.cam.config import option_files
from wildseg.stages.cam.task import CamTask, build_network
from wildseg.tracking import mlflow_run
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.context import TrainContext
from wildseg.training.distributed import DistributedContext
from wildseg.training.events import Event, TrainingResult
from wildseg.training.trainer import Trainer

if TYPE_CHECKING:
    from wildseg.execution.params import Params

STORE = "cam_network"
LIBRARIES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "open_clip_torch", "numpy", "pillow")
# Parameters that say nothing of the maps that one phase of a training makes for the next.
OF_OTHER_MAPS = ("refine", "caa", "pos_embed_interpolation", "precision", "boxes", "max_failures")
LOADERS = 8  # processes that prepare batches for a GPU; on the CPU training itself takes all cores
SECONDS = 20.0  # between checkpoints


def run(
    params: Params, artifacts: Artifacts, runtime: Runtime, task: CamTask,
    present: Mapping[str, list[int]], tiles: Mapping[str, np.ndarray], failures: Failures,
) -> None:  # fmt: skip
    """Write models/cam and metrics/cam/curve.csv, from the result store where it has the same training.

    Training frames that cannot be decoded are added to `failures`, and nothing is learned from them.

    Raises:
        DataError: no training frame, more that cannot be decoded than `failures` allows, or files of saliency that do
            not belong to the frames.
        WildsegError: a network, its weights or the device do not exist, or the loss is not finite.
    """
    torch.set_num_threads(min(torch.get_num_threads(), runtime.workers))
    empty_dir(artifacts.map_network_folder)
    listed = [frame.name for frame in artifacts.load_frames("train", after="label") if frame.name in present]
    digests = training_frames.digests(listed, artifacts)
    store = ResultStore.of(artifacts.root, STORE)
    sizes = training_frames.readable(digests, artifacts, failures, store, runtime.workers)
    own = {frame: present[frame] for frame in sizes}
    of_tiles = np.stack([tiles[frame] for frame in sizes]) if tiles and sizes else None
    training = _Training.of(params, artifacts, runtime, task, own, of_tiles, digests)
    for remark in training.remarks():
        print(f"cam: {remark}", flush=True)
    files = {"weights": artifacts.map_network_weights}
    result = large_entries.get(store, training.key, files, TrainingResult.of_record)
    cached = result is not None
    if result is None:
        if isinstance(training.objective.saliency, SaliencyFolder):
            training.objective.saliency.check(sizes)
        result = training.run(artifacts, runtime)
        if result.history:
            large_entries.put(store, training.key, result.record(), files)
    note(store, STORE, int(cached), int(not cached))
    artifacts.save_map_network_config(training.describe(result))
    artifacts.save_map_network_curve([(event.step, event.curves) for event in result.history])
    if doubt := training.doubt(result.history):
        print(f"cam: {doubt}", flush=True)
    print(f"cam: {training.summary(result)}{', from the cache' if cached else ''}", flush=True)


@dataclass
class _Training:
    """The training of one network: what it is of, its key, and what is known of its labels."""

    params: Params
    task: CamTask
    objective: MapObjective
    images: LabelledImages
    context: TrainContext
    key: str
    trainers: dict[int, Trainer] = field(default_factory=dict)

    @classmethod
    def of(
        cls, params: Params, artifacts: Artifacts, runtime: Runtime, task: CamTask,
        present: Mapping[str, list[int]], tiles: np.ndarray | None, digests: Mapping[str, str],
    ) -> _Training:  # fmt: skip
        if not present:
            raise DataError(f"cam: {params.cam.method} expected key frames of the split train, found none")
        labels = np.zeros((len(present), len(params.classes)), bool)
        for row, classes in enumerate(present.values()):
            labels[row, classes] = True
        device = torch_device(runtime.device)
        context = TrainContext(
            params.seed,
            resolve_precision(params.cam.precision, device, "cam.precision"),
            None,
            DistributedContext(device=device),
            section=f"cam.options.{params.cam.method}",
        )
        torch.manual_seed(params.seed)  # the first weights
        objective = build_network(task, labels, context)
        images = LabelledImages(list(present), labels, artifacts.load_image, objective.saliency, tiles)
        frames = [digests[frame] for frame in images.frames]
        key = _key(params, artifacts, runtime, task, images, frames, context, objective)
        return cls(params, task, objective, images, context, key)

    def remarks(self) -> Iterator[str]:
        """Yield what a person should know before the training, a line each.

        That is what labels cannot teach, a class in no or in every training frame; pretrained weights; and the method's
        own remarks.
        """
        names = self.params.classes.names
        share = self._labels.mean(0)
        if never := [name for name, part in zip(names, share, strict=True) if part == 0]:
            yield f"no training frame is labelled {', '.join(never)}: the network cannot learn maps of it"
        whole = self.images.tiles is None
        part, instead = ("frame", "labels of tiles (label.grid)") if whole else ("tile", "a finer label.grid")
        if always := [name for name, part in zip(names, share, strict=True) if part == 1]:
            yield (
                f"every training {part} is labelled {', '.join(always)}: without a {part} that lacks it, its map shows "
                f"what {part}s have in common; {instead} would give negatives"
            )
        networks = [network for phase in fit.phases(self.objective) for network in phase.networks.values()]
        yield from dict.fromkeys(filter(None, (loaded(part) for network in networks for part in network.modules())))
        yield from self.objective.remarks()

    @property
    def _labels(self) -> np.ndarray:
        """The labels (M, C) bool of the training frames, or of their tiles."""
        tiles = self.images.tiles
        return self.images.labels if tiles is None else tiles.reshape(-1, tiles.shape[-1])

    def doubt(self, history: Sequence[Event]) -> str | None:
        """Return a line where a classifier has learned nothing."""
        weights = 1.0 if self.images.tiles is None else positive_weights(self.images.tiles)
        return untrained.remark(self._labels, history, self.context.section, weights)

    def run(self, artifacts: Artifacts, runtime: Runtime) -> TrainingResult:
        """Train all phases, from checkpoints where there are such, and write the weights."""
        folder = artifacts.scratch_folder / "cam"
        checkpoints = [
            Checkpoints(folder, f"{self.key[:16]}-{phase}") for phase in range(len(fit.phases(self.objective)))
        ]

        def restore(phase: int, trainer: Trainer) -> bool:
            self.trainers[phase] = trainer
            return checkpoints[phase].restore(trainer)

        on_gpu = self.context.device.startswith("cuda")
        workers = min(runtime.workers, LOADERS) if on_gpu else 0
        steps = fit.steps(self.objective)
        saved = time.monotonic()
        events = fit.train(self.objective, self.images, self.context, self.params.cam, restore, workers)
        shown = track(events, steps, f"cam: training {self.params.cam.method}") if steps else events
        tracked = mlflow_run.map_training(artifacts, self.params, self.key) if steps else nullcontext()
        with tracked as tracker:
            for progress in shown:
                last = progress.event.step == progress.trainer.optim.steps
                if progress.event.curves:
                    self.report(artifacts, tracker)
                if last or time.monotonic() - saved > SECONDS:
                    checkpoints[progress.phase].save(progress.trainer)
                    saved = time.monotonic()
            artifacts.save_map_network_weights(saved_tensors(self.objective))
        for checkpoint in checkpoints:
            checkpoint.remove()
        parameters = sum(p.numel() for network in self.objective.networks.values() for p in network.parameters())
        return TrainingResult(steps, None, parameters, self.history())

    def report(self, artifacts: Artifacts, tracker: mlflow_run.Curve | None) -> None:
        """Write and track the curves so far; those of a training that was killed may lack points in the tracker."""
        points = [(event.step, event.curves) for event in self.history()]
        artifacts.save_map_network_curve(points)
        if tracker:
            for step, curves in points:
                tracker.log(step, **curves)

    def history(self) -> list[Event]:
        """Return the reported events of all phases, their steps counted through."""
        done, events = 0, []
        for _, trainer in sorted(self.trainers.items()):
            events += [replace(event, step=done + event.step) for event in trainer.history]
            done += trainer.optim.steps
        return events

    def describe(self, result: TrainingResult) -> dict[str, Any]:
        """Return what models/cam/config.json holds."""
        return {
            "method": self.params.cam.method,
            "network": {
                "options": self.params.cam.method_options,
                "class_names": list(self.params.classes.names),
                "mean": list(self.objective.norm.mean),
                "std": list(self.objective.norm.std),
                "stride": self.objective.stride,
                "steps": result.steps,
                "parameters": result.parameters,
            },
        }

    def summary(self, result: TrainingResult) -> str:
        """Return a finished training in one line."""
        loss = f", loss {result.history[-1].loss:.4f}" if result.history else ""
        return f"{self.params.cam.method} trained on {len(self.images)} frames, {result.steps} steps{loss}"


def saved_tensors(objective: MapObjective) -> dict[str, torch.Tensor]:
    """Return the tensors that maps need, as ``<network>.<tensor>``."""
    return {
        f"{name}.{key}": tensor
        for name in objective.saved
        for key, tensor in objective.networks[name].state_dict().items()
    }


def _key(
    params: Params, artifacts: Artifacts, runtime: Runtime, task: CamTask,
    images: LabelledImages, frames: Sequence[str], context: TrainContext, objective: MapObjective,
) -> str:  # fmt: skip
    """Return the key of everything that the trained network depends on: hex."""
    options = params.cam.method_options
    code = fingerprint.digest("wildseg.cam.networks.fit", "wildseg.artifacts.frames", *task.cam_methods())
    passes = fields_but(params.cam, *OF_OTHER_MAPS, "method", "options") if objective.first else {}
    needs_clip = NEEDS_CLIP in lookup.needs("methods.cam", params.cam.method)
    clip = identity(params.clip, artifacts.root) if needs_clip else None
    settings = [params.cam.method, options, option_files(options, artifacts.root), params.classes.phrases, passes, clip]
    where = [context.seed, context.precision, context.device.split(":")[0]]
    tiles = [] if images.tiles is None else [images.tiles.tolist()]
    return key_of([settings, where, images.frames, images.labels.tolist(), frames, code, versions(*LIBRARIES),
                   gpus(runtime)[:1], *tiles])  # fmt: skip
