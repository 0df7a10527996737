"""Training a segmentation network: its objective, its batches and its validation put together, from plain arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.segment import validate
from wildseg.segment.augment import augmentation
from wildseg.segment.data import Batches
from wildseg.segment.losses import sqrt_inverse_weights
from wildseg.segment.objective import Loss, SegmenterObjective
from wildseg.segment.predict import Predictor
from wildseg.segment.supervision import TrainingData
from wildseg.training.context import TrainContext
from wildseg.training.events import Event, TrainingResult
from wildseg.training.loader import stream
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer

LOADERS = 8  # processes that prepare batches for a GPU; on the CPU training itself takes all cores


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        crop: side of the square result in pixels.
        scale: smallest and largest magnification.
        flip: probability of a left-right flip.
        colour: jitter of brightness, contrast and saturation.
    """

    crop: int
    scale: tuple[float, ...]
    flip: float
    colour: float


@dataclass(frozen=True)
class FitConfig:
    """All numbers and names that decide the trained network beside data, seed and precision.

    Attributes:
        architecture: name of a file of `methods/architectures`.
        encoder: name of its encoder.
        encoder_weights: None, a published set, or a local .safetensors file.
        options: keyword arguments of the architecture's `build`.
        loss: name of a file of `methods/losses`.
        min_confidence: below which a pixel of a mask is ignored; None where the loss takes all pixels.
        num_classes: C, without background.
        ids: the channels that mean something, of 0 to C.
        balanced: weight each class by 1 / sqrt(its share of the labelled pixels).
        batch_size: images of a step, over all processes.
        optim: how to minimise the loss.
        augmentation: how images are varied.
    """

    architecture: str
    encoder: str
    encoder_weights: str | None
    options: Mapping[str, Any]
    loss: str
    min_confidence: float | None
    num_classes: int
    ids: tuple[int, ...]
    balanced: bool
    batch_size: int
    optim: OptimConfig
    augmentation: Augmentation


def trainer(
    config: FitConfig,
    build: Callable[..., torch.nn.Module],
    loss: Loss,
    data: TrainingData,
    norm: Normalisation,
    context: TrainContext,
) -> Trainer:
    """Return a trainer at step 0; it validates on the frames of `data.val`, if there are such.

    Args:
        config: see there.
        build: of the architecture.
        loss: of the loss.
        data: what is trained and validated on.
        norm: mean and deviation of images.
        context: of the training.

    Raises:
        WildsegError: the encoder or its weights do not exist or do not fit, or the options contradict each other.
    """
    torch.manual_seed(context.seed)  # the first weights
    network = build(config.num_classes, config.encoder, config.encoder_weights, **config.options)
    predictor = Predictor(network, config.ids, norm.mean, norm.std, context.device, context.precision)
    num_ids = config.num_classes + 1
    miou = partial(validate.miou, predictor, data.val, num_ids, context.distributed) if len(data.val) else None
    context = context if miou else replace(context, validate_every=None)
    weights = torch.from_numpy(sqrt_inverse_weights(data.counts)) if config.balanced else None
    return Trainer(SegmenterObjective(network, loss, config.ids, weights, context, miou), config.optim, context)


def events(trainer: Trainer, config: FitConfig, data: TrainingData, norm: Normalisation, cores: int) -> Iterator[Event]:
    """Train to the last step, yielding one event a step.

    Args:
        trainer: of `trainer`, restored or not.
        config: the same.
        data: the same.
        norm: the same.
        cores: of this machine, for all processes of the training on it.

    Raises:
        WildsegError: the loss is not finite, memory is full, or the launcher was killed.
    """
    vary, context = config.augmentation, trainer.context
    low, high = vary.scale
    transform = augmentation(vary.crop, (low, high), vary.flip, vary.colour, norm.mean, norm.std)
    share = context.distributed.share(config.batch_size)
    batches = Batches(data.train, transform, config.batch_size, context.seed, share)
    on_gpu = context.device.startswith("cuda")
    workers = max(1, min(cores // context.distributed.local_world_size, LOADERS)) if on_gpu else 0
    for event in trainer.run(partial(stream, batches, workers=workers)):
        context.distributed.check_launcher()
        yield event


def report(result: TrainingResult, data: TrainingData) -> dict[str, Any]:
    """Return the numbers of a finished training by name."""
    return {
        "val_miou": result.best[0] if result.best else None,
        "best_step": result.best[1] if result.best else result.steps,
        "steps": result.steps,
        "loss": result.history[-1].loss,
        "parameters": result.parameters,
        "frames_train": len(data.train),
        "frames_val": len(data.val),
        "frames_skipped": data.skipped,
    }


def summary(result: TrainingResult, data: TrainingData) -> str:
    """Return a finished training in one line."""
    kept = (
        f"best val mIoU {result.best[0]:.3f} at step {result.best[1]} of {result.steps}"
        if result.best
        else f"no validation frames: the weights of the last step, {result.steps}, are kept"
    )
    return f"{len(data.train)} frames, {kept}, {data.skipped} frames without labelled pixels left out"
