"""Training a segmentation network: its objective, its batches and its validation put together, from plain arguments."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from wildseg.encoders.cnn import normalisation
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.segment import teacher, validate
from wildseg.segment.augment import augmentation
from wildseg.segment.data import Batches
from wildseg.segment.losses import class_balanced_weights, sqrt_inverse_weights
from wildseg.segment.objective import ConfiguresOptimizer, FineTuning, Loss, SegmenterObjective
from wildseg.segment.predict import Predictor, describe
from wildseg.segment.supervision import TrainingData
from wildseg.training.context import TrainContext
from wildseg.training.events import Event, TrainingResult
from wildseg.training.loader import stream
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer

if TYPE_CHECKING:
    from wildseg.segment.params import Train

LOADERS = 8  # processes that prepare batches for a GPU; on the CPU training itself takes all cores


@dataclass(frozen=True)
class FitConfig:
    """All numbers and names that decide the trained network beside data, seed and precision.

    Attributes:
        train: the parameters; a path of encoder weights starts at the working folder.
        num_classes: C, without background.
        ids: the channels that mean something, of 0 to C.
        guided: whether the loss takes certain pixels alone.
        held_out: those of the ids that are not trained, as if the network did not know them.
    """

    train: Train
    num_classes: int
    ids: tuple[int, ...]
    guided: bool
    held_out: tuple[int, ...] = ()

    @property
    def trained_ids(self) -> tuple[int, ...]:
        """The channels that are trained and validated."""
        return tuple(index for index in self.ids if index not in self.held_out)

    @property
    def options(self) -> Mapping[str, Any]:
        """The keyword arguments of the architecture's `build`."""
        return self.train.options.get(self.train.architecture, {})

    @property
    def loss_options(self) -> Mapping[str, Any]:
        """The keyword arguments of the loss."""
        return self.train.options.get(self.train.loss, {})

    @property
    def min_confidence(self) -> float | None:
        """The confidence below which a pixel of a mask is ignored; None where the loss takes all pixels."""
        return self.train.min_confidence if self.guided else None

    @property
    def norm(self) -> Normalisation:
        """Mean and deviation of images, those that the encoder was trained with.

        Raises:
            WildsegError: the weights cannot be had.
        """
        return normalisation.of(self.train.encoder, self.train.encoder_weights)

    @property
    def optim(self) -> OptimConfig:
        """How to minimise the loss."""
        return OptimConfig(self.train.steps, self.train.lr, weight_decay=self.train.weight_decay)


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
    network = build(config.num_classes, config.train.encoder, config.train.encoder_weights, **config.options)
    predictor = Predictor(network, config.trained_ids, norm.mean, norm.std, context.device, context.precision)
    num_ids = config.num_classes + 1
    miou = partial(validate.miou, predictor, data.val, num_ids, context.distributed) if len(data.val) else None
    context = context if miou else replace(context, validate_every=None)
    chosen = partial(loss, **config.loss_options)
    teach = partial(_consistency, config, predictor, data, context) if config.train.teacher else None
    weights = _class_weights(config, data)
    tuning = FineTuning(config.train.encoder_lr, config.train.freeze_norms)
    objective = SegmenterObjective(network, chosen, config.trained_ids, weights, context, miou, teach, tuning)
    own = network.optimizer_settings() if isinstance(network, ConfiguresOptimizer) else {}
    return Trainer(objective, replace(config.optim, **own), context)


def _class_weights(config: FitConfig, data: TrainingData) -> torch.Tensor | None:
    train = config.train
    if train.class_weights == "none":
        return None
    if train.class_weights == "class_balanced":
        return torch.from_numpy(class_balanced_weights(data.counts, train.class_balanced_beta))
    return torch.from_numpy(sqrt_inverse_weights(data.counts))


def _consistency(
    config: FitConfig, student: Predictor, data: TrainingData, context: TrainContext, network: torch.nn.Module
) -> teacher.Consistency:
    """Return the teacher of a network, which is measured as its student is."""

    def miou(average: torch.nn.Module) -> float:
        measured = copy.copy(student)
        measured.network = average
        return validate.miou(measured, data.val, config.num_classes + 1, context.distributed)

    train = config.train
    return teacher.Consistency(network, train.mean_teacher, train.steps, miou)


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
    train, context = config.train, trainer.context
    low, high = train.scale
    transform = augmentation(train.crop, (low, high), train.flip, train.colour, norm.mean, norm.std)
    share = context.distributed.share(train.batch_size)
    batches = Batches(data.train, transform, train.batch_size, context.seed, share)
    on_gpu = context.device.startswith("cuda")
    workers = max(1, min(cores // context.distributed.local_world_size, LOADERS)) if on_gpu else 0
    for event in trainer.run(partial(stream, batches, workers=workers)):
        context.distributed.check_launcher()
        yield event


def description(config: FitConfig, class_names: Sequence[str], norm: Normalisation) -> dict[str, Any]:
    """Return what the trained network is loaded by, see `wildseg.segment.predict.describe`."""
    train = config.train
    return describe(train.architecture, train.encoder, config.options, class_names, config.ids, norm.mean, norm.std)


def report(rounds: Sequence[TrainingResult], data: TrainingData) -> dict[str, Any]:
    """Return the numbers of a finished training by name: of its last round, whose data these are, and of each."""
    result = rounds[-1]
    each = {str(number): _measured(one) for number, one in enumerate(rounds, 1)}
    return {
        **_measured(result),
        "steps": result.steps,
        "loss": result.history[-1].loss,
        "parameters": result.parameters,
        "frames_train": len(data.train),
        "frames_val": len(data.val),
        "frames_skipped": data.skipped,
        **({"rounds": each} if len(rounds) > 1 else {}),
    }


def _measured(result: TrainingResult) -> dict[str, float | None]:
    best = result.best
    return {"val_miou": best[0] if best else None, "best_step": best[1] if best else result.steps}


def summary(result: TrainingResult, data: TrainingData) -> str:
    """Return a finished training in one line."""
    kept = (
        f"best val mIoU {result.best[0]:.3f}, against what is trained on, at step {result.best[1]} of {result.steps}"
        if result.best
        else f"no validation frames: the weights of the last step, {result.steps}, are kept"
    )
    return f"{len(data.train)} frames, {kept}, {data.skipped} frames without labelled pixels left out"
