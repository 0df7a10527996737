"""What a training is of: parameters, frames with their masks, normalisation and devices, read once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.progress import track
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.encoders.precision import resolve_precision
from wildseg.execution import launcher
from wildseg.execution.runtime import Runtime, torch_device
from wildseg.segment import architecture, fit, supervision, vocabulary
from wildseg.training import distributed
from wildseg.training.context import TrainContext

if TYPE_CHECKING:
    from wildseg.execution.params import Params


@dataclass(frozen=True)
class TrainingInputs:
    """All that one round of training depends on.

    Attributes:
        params: of the project.
        artifacts: of the project.
        config: the parameters as the network is trained by them.
        data: frames and masks.
        norm: mean and deviation of images.
        context: seed, precision and processes.
    """

    params: Params
    artifacts: Artifacts
    config: fit.FitConfig
    data: supervision.TrainingData
    norm: Normalisation
    context: TrainContext

    @property
    def architecture(self) -> ModuleType:
        """The file of the architecture."""
        return _architecture(self.params)

    @property
    def phrases(self) -> list[tuple[str, ...]]:
        """The phrases of each class."""
        return list(self.params.classes.phrases)

    @cached_property
    def described(self) -> dict[str, Any]:
        """The config of the model."""
        described = fit.description(self.config, self.params.classes.names, self.norm)
        if architecture.needs_phrases(self.architecture):  # and then has an encoder that is not saved
            described[vocabulary.NAMED] = self.params.train.encoder_weights
        if self.config.held_out:
            described[vocabulary.HELD_OUT] = list(self.params.train.hold_out)
        return described

    def ids_by_frame(self) -> dict[str, list[int]]:
        """Return the trained ids that each training frame can show by its image labels.

        Raises:
            DataError: labels are missing.
        """
        frames, background = self.data.train.frames, bool(self.params.background)
        found = self.artifacts.ids_by_frame(frames, self.params.classes.names, background=background)
        return {frame: [index for index in ids if index in self.config.trained_ids] for frame, ids in found.items()}


def read(params: Params, artifacts: Artifacts, runtime: Runtime) -> TrainingInputs:
    """Read what the parameters name; every mask is read once.

    Raises:
        DataError: no frame with a labelled pixel, or masks that are missing, broken or of other classes.
        WildsegError: weights or the device do not exist.
    """
    kind, several = params.train.supervision, launcher.one_of_several()
    processes = distributed.of_launcher(torch_device(runtime.device), several, params.train.batch_size)
    precision = resolve_precision(params.train.precision, processes.device)
    config = _config(params, artifacts)
    norm = architecture.norm_of(_architecture(params), config.train)
    load_mask = partial(artifacts.load_supervision, kind, select=_select(config))
    data = supervision.read(
        artifacts.supervised_frames(kind),
        artifacts.load_image,
        partial(supervision.without, load_mask, config.held_out) if config.held_out else load_mask,
        config.ids,
        supervision.KINDS[kind],
        processes,
        lambda share: track(share, len(share), f"train: {kind}") if processes.is_main else share,
        "" if (least := config.min_confidence) is None else f" of at least train.min_confidence = {least:g} confidence",
    )
    context = TrainContext(params.seed, precision, params.train.validate_every, processes)
    return TrainingInputs(params, artifacts, config, data, norm, context)


def _config(params: Params, artifacts: Artifacts) -> fit.FitConfig:
    train, weights = params.train, params.train.encoder_weights
    if weights and weights.endswith(".safetensors"):
        # A file is named from the folder of dvc.yaml; anything else is the name of a published set.
        train = replace(train, encoder_weights=str(artifacts.root / weights))
    module = _architecture(params)
    options = architecture.with_templates(module, train.options.get(train.architecture, {}), params.clip.templates)
    train = replace(train, options={**train.options, train.architecture: dict(options)})
    ids = tuple(range(0 if params.background else 1, len(params.classes) + 1))
    held_out = tuple(1 + params.classes.names.index(name) for name in train.hold_out)
    guided = "confidence" in lookup.needs("methods.losses", train.loss)
    return fit.FitConfig(train, len(params.classes), ids, guided, held_out)


def _architecture(params: Params) -> ModuleType:
    return lookup.load("methods.architectures", params.train.architecture, "train.architecture")


def _select(config: fit.FitConfig) -> Callable | None:
    loss = lookup.load("methods.losses", config.train.loss, "train.loss")
    return None if config.min_confidence is None else partial(loss.select, min_confidence=config.min_confidence)
