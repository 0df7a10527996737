"""Stage 5: key frames and their pseudo masks, or scribbles or points -> a segmentation model, never trained twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir, save_json, sha256_of
from wildseg.core.progress import track
from wildseg.encoders.cnn.build import loaded
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.encoders.precision import resolve_precision
from wildseg.encoders.weights import config_path, shared_config_path
from wildseg.execution import fingerprint, large_entries, launcher
from wildseg.execution.result_store import ResultStore, fields_but, key_of, note, versions
from wildseg.execution.runtime import Runtime, gpus, torch_device
from wildseg.segment import architecture, fit, supervision, vocabulary
from wildseg.segment.objective import NAME
from wildseg.tracking import mlflow_run
from wildseg.training import distributed
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.context import TrainContext
from wildseg.training.events import TrainingResult

if TYPE_CHECKING:
    from wildseg.execution.params import Params

# Masks are known by their content, and precision by what it comes to on this device.
DECIDES_NO_NETWORK = ("supervision", "precision", "checkpoint_every")
LIBRARIES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class _Inputs:
    config: fit.FitConfig
    data: supervision.TrainingData
    norm: Normalisation
    context: TrainContext


def run(params: Params, artifacts: Artifacts, runtime: Runtime, accept: Callable[[], object] = lambda: None) -> None:
    """Write models/segmenter, metrics/train.json and metrics/train/curve.csv, from the result store where it has them.

    `accept` is called when all is written and before the result is stored; where it raises, a checkpoint stays.

    Raises:
        DataError: no frame with a labelled pixel, or masks that are missing, broken or of other classes.
        WildsegError: a network, its weights or the device do not exist.
    """
    torch.set_num_threads(min(torch.get_num_threads(), runtime.workers))
    inputs = _read(params, artifacts, runtime)
    key = _key(params, artifacts, inputs, runtime)
    store = ResultStore.of(artifacts.root, "train")
    checkpoints = Checkpoints(artifacts.scratch_folder / "train", key[:16])
    processes = inputs.context.distributed

    stored = _restore(artifacts, store, key) if processes.is_main else None
    if not processes.any(stored is not None):
        result = _train(params, artifacts, inputs, checkpoints, runtime)
    elif stored:
        result = _reuse(params, artifacts, inputs, stored)
    if processes.is_main:
        print(f"train: {fit.summary(result, inputs.data)}{', from the cache' if stored else ''}")
        accept()
        with suppress(DataError):  # an input that is gone is another input
            if not stored and _key(params, artifacts, inputs, runtime) == key:
                large_entries.put(store, key, result.record(), {"weights": artifacts.segmenter_weights})
        note(store, "train", int(bool(stored)), int(not stored))
        checkpoints.remove()
    processes.close()


def _read(params: Params, artifacts: Artifacts, runtime: Runtime) -> _Inputs:
    kind, several = params.train.supervision, launcher.one_of_several()
    processes = distributed.of_launcher(torch_device(runtime.device), several, params.train.batch_size)
    precision = resolve_precision(params.train.precision, processes.device)
    config = _config(params, artifacts)
    norm = architecture.norm_of(_module(config), config.train)
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
    return _Inputs(config, data, norm, TrainContext(params.seed, precision, params.train.validate_every, processes))


def _config(params: Params, artifacts: Artifacts) -> fit.FitConfig:
    train, weights = params.train, params.train.encoder_weights
    if weights and weights.endswith(".safetensors"):
        # A file is named from the folder of dvc.yaml; anything else is the name of a published set.
        train = replace(train, encoder_weights=str(artifacts.root / weights))
    module = _architecture(train.architecture)
    options = architecture.with_templates(module, train.options.get(train.architecture, {}), params.clip.templates)
    train = replace(train, options={**train.options, train.architecture: dict(options)})
    ids = tuple(range(0 if params.background else 1, len(params.classes) + 1))
    held_out = tuple(1 + params.classes.names.index(name) for name in train.hold_out)
    guided = "confidence" in lookup.needs("methods.losses", train.loss)
    return fit.FitConfig(train, len(params.classes), ids, guided, held_out)


def _architecture(name: str) -> ModuleType:
    return lookup.load("methods.architectures", name, "train.architecture")


def _module(config: fit.FitConfig) -> ModuleType:
    return _architecture(config.train.architecture)


def _phrases(params: Params) -> list[tuple[str, ...]]:
    return list(params.classes.phrases)


def _beside(config: fit.FitConfig, root: Path) -> list[str]:
    """Return the digests of the configs beside the weights of a CLIP, and of files that the options name."""
    file = Path(config.train.encoder_weights or "")
    configs = (config_path(file, config.train.encoder), shared_config_path(file)) if file.is_file() else ()
    named = architecture.files_of(_module(config), config.options, root).values()
    return [sha256_of(path) for path in (*configs, *named) if path.is_file()]


def _select(config: fit.FitConfig) -> Callable | None:
    loss = lookup.load("methods.losses", config.train.loss, "train.loss")
    return None if config.min_confidence is None else partial(loss.select, min_confidence=config.min_confidence)


def _train(
    params: Params, artifacts: Artifacts, inputs: _Inputs, checkpoints: Checkpoints, runtime: Runtime
) -> TrainingResult:
    """Train to the end, from a checkpoint if one fits; the main process writes and reports what the others compute."""
    config, context = inputs.config, inputs.context
    build = architecture.builder(_module(config), _phrases(params), config.trained_ids, artifacts.root)
    loss = lookup.load("methods.losses", config.train.loss, "train.loss").loss
    trainer = fit.trainer(config, build, loss, inputs.data, inputs.norm, context)
    restored = checkpoints.restore(trainer)
    context.distributed.check_same(trainer.step, "step of the checkpoint")
    events = fit.events(trainer, config, inputs.data, inputs.norm, runtime.workers)
    if not context.distributed.is_main:
        deque(events, maxlen=0)
        return trainer.result()

    if config.train.encoder_weights:
        print(f"train: {loaded(trainer.objective.networks[NAME])}; {inputs.norm}", flush=True)
    if checkpoints.unusable:
        print(f"train: {checkpoints.unusable}; begins anew", flush=True)
    if restored:
        print(f"train: goes on from step {trainer.step} of {config.train.steps}", flush=True)
    if config.held_out:
        print(f"train: {', '.join(config.train.hold_out)} held out: their pixels are ignored", flush=True)
    empty_dir(artifacts.segmenter_folder)
    with mlflow_run.training(artifacts, params, trainer.step) as tracker:
        for past in trainer.history:  # points that a kill kept from the tracker
            tracker.log(past.step, **past.curves)
        for event in track(events, config.train.steps - trainer.step, "train"):
            if event.curves:
                tracker.log(event.step, **event.curves)
                artifacts.save_curve([(past.step, past.curves) for past in trainer.history])
            if event.step % params.train.checkpoint_every == 0:
                checkpoints.save(trainer)
        artifacts.save_segmenter_weights(trainer.weights(NAME) | _held_out(params, artifacts, inputs))
        _write(params, artifacts, inputs, trainer.result())
    return trainer.result()


def _held_out(params: Params, artifacts: Artifacts, inputs: _Inputs) -> dict[str, torch.Tensor]:
    """Return what of the weights names classes, with those that were held out; nothing where none was."""
    if not inputs.config.held_out:
        return {}
    described = _described(params, inputs)
    return architecture.vocabulary(_module(inputs.config), described, _phrases(params), str(artifacts.segmenter_folder))


def _restore(artifacts: Artifacts, store: ResultStore, key: str) -> TrainingResult | None:
    """Put the weights of a stored training in place and return its result; None where there is none."""
    if store.has(key):
        empty_dir(artifacts.segmenter_folder)
    return large_entries.get(store, key, {"weights": artifacts.segmenter_weights}, TrainingResult.of_record)


def _reuse(params: Params, artifacts: Artifacts, inputs: _Inputs, stored: TrainingResult) -> TrainingResult:
    """Write and track what a training with this result writes and tracks, beside its weights."""
    with mlflow_run.training(artifacts, params) as tracker:
        for event in stored.history:
            tracker.log(event.step, **event.curves)
        _write(params, artifacts, inputs, stored)
    return stored


def _write(params: Params, artifacts: Artifacts, inputs: _Inputs, result: TrainingResult) -> None:
    artifacts.save_segmenter_config(_described(params, inputs))
    artifacts.save_curve([(event.step, event.curves) for event in result.history])
    save_json(artifacts.metrics_path("train.json"), fit.report(result, inputs.data))


def _described(params: Params, inputs: _Inputs) -> dict[str, Any]:
    """Return the config of the model."""
    described = fit.description(inputs.config, params.classes.names, inputs.norm)
    if architecture.needs_phrases(_module(inputs.config)):  # and then has an encoder that is not saved
        described[architecture.NAMED] = params.train.encoder_weights
    if inputs.config.held_out:
        described[vocabulary.HELD_OUT] = list(params.train.hold_out)
    return described


def _key(params: Params, artifacts: Artifacts, inputs: _Inputs, runtime: Runtime) -> str:
    """Return the key of everything that the trained network depends on: hex."""
    config, context, data = inputs.config, inputs.context, inputs.data
    code = fingerprint.digest(
        "wildseg.segment.fit",
        f"wildseg.methods.architectures.{config.train.architecture}",
        f"wildseg.methods.losses.{config.train.loss}",
        "wildseg.artifacts.supervision",
    )
    # A file of encoder weights is known by its content, wherever the project lies; so here are the parameters as read.
    train = fields_but(params.train, *DECIDES_NO_NETWORK, "options", "min_confidence")
    chosen: list[object] = [train, config.options, config.min_confidence, config.num_classes, config.ids]
    if architecture.needs_phrases(_module(config)):
        chosen += [_phrases(params), _beside(config, artifacts.root), versions("open_clip_torch", "scipy")]
    settings = [chosen, context.seed, context.precision, context.device.split(":")[0]]
    frames = [*data.train.frames, *data.val.frames]
    weights = config.train.encoder_weights
    files = artifacts.training_digests(params.train.supervision, frames, config.guided, weights)
    return key_of([settings, data.train.frames, data.val.frames, inputs.norm.mean, inputs.norm.std, files, code,
                   versions(*LIBRARIES), gpus(runtime)[:1]])  # fmt: skip
