"""Stage 5: key frames and their pseudo masks, or scribbles or points -> a segmentation model, never trained twice.

With `train.rounds` above 1 each round is a training of its own, under a key of its own: it is found in the result
store, resumed after a kill, and reused by an experiment of more rounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.segmenter import read_weights
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
from wildseg.segment import architecture, fit, predict, rounds, supervision, teacher, vocabulary
from wildseg.segment.objective import NAME
from wildseg.tracking.round_curves import RoundCurves
from wildseg.training import distributed
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.context import TrainContext
from wildseg.training.events import TrainingResult

if TYPE_CHECKING:
    from wildseg.execution.params import Params
    from wildseg.segment.params import Train

# Masks are known by their content, and precision by what it comes to on this device. Later rounds have their own keys.
DECIDES_NO_NETWORK = ("supervision", "precision", "checkpoint_every", "rounds", "round_confidence")
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
    first = inputs = _read(params, artifacts, runtime)
    keys = _keys(params, artifacts, inputs, runtime)
    store = ResultStore.of(artifacts.root, "train")
    checkpoints = _checkpoints(artifacts, keys)
    processes = inputs.context.distributed
    stored: list[bool] = []  # by round: whether it was in the store

    with RoundCurves(artifacts, params) as curves:
        for number, key in enumerate(keys, 1):
            if number > 1:
                inputs = _next_round(params, artifacts, first, number)
            found = _restore(artifacts, store, key, number) if processes.is_main else None
            stored.append(processes.any(found is not None))
            if not stored[-1]:
                found = _train(params, artifacts, inputs, checkpoints[number - 1], runtime, curves)
            if processes.is_main and found:
                curves.done.append(found)
                line = f"{fit.summary(found, inputs.data)}{', from the cache' if stored[-1] else ''}"
            if processes.is_main and number < len(keys):
                print(f"train: round {number} of {len(keys)}: {line}", flush=True)
                _keep(params, artifacts, first, runtime, store, keys, stored, curves)
        if processes.is_main:
            curves.open(0)
            _write(params, artifacts, inputs, curves)
    if processes.is_main:
        print(f"train: {line}")
        accept()
        _keep(params, artifacts, first, runtime, store, keys, stored, curves)
        note(store, "train", sum(stored), len(stored) - sum(stored))
        checkpoints[0].remove()
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
    params: Params,
    artifacts: Artifacts,
    inputs: _Inputs,
    checkpoints: Checkpoints,
    runtime: Runtime,
    curves: RoundCurves,
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
    number = len(curves.done) + 1
    if restored:
        of_round = f" of round {number}" if params.train.rounds > 1 else ""
        print(f"train: goes on from step {trainer.step} of {config.train.steps}{of_round}", flush=True)
    if config.held_out:
        print(f"train: {', '.join(config.train.hold_out)} held out: their pixels are ignored", flush=True)
    if number == 1:
        empty_dir(artifacts.segmenter_folder)
    curves.open(trainer.step, trainer.history, trainer.best.value if trainer.best else None)
    for event in track(events, config.train.steps - trainer.step, "train"):
        if event.curves:
            curves.log(trainer.history, trainer.best.value if trainer.best else None)
        if event.step % params.train.checkpoint_every == 0:
            checkpoints.save(trainer)
    artifacts.save_segmenter_weights(teacher.weights(trainer) | _held_out(params, artifacts, inputs))
    if number < params.train.rounds:
        checkpoints.save(trainer)  # of a finished round, for where nothing is stored
    return trainer.result()


def _held_out(params: Params, artifacts: Artifacts, inputs: _Inputs) -> dict[str, torch.Tensor]:
    """Return what of the weights names classes, with those that were held out; nothing where none was."""
    if not inputs.config.held_out:
        return {}
    described = _described(params, inputs)
    return architecture.vocabulary(_module(inputs.config), described, _phrases(params), str(artifacts.segmenter_folder))


def _next_round(params: Params, artifacts: Artifacts, first: _Inputs, number: int) -> _Inputs:
    """Write the masks of a round by the model that lies in models/segmenter, and return its inputs.

    Raises:
        DataError: labels are missing, or the model is sure of no pixel.
    """
    config, context, frames = first.config, first.context, first.data.train.frames
    processes, ids = context.distributed, _ids_by_frame(params, artifacts, first)
    processes.any(False)  # the main process has written the weights
    described = _described(params, first)
    build = architecture.rebuilder(_module(config), described, str(artifacts.segmenter_folder))
    state = read_weights(artifacts.segmenter_folder)
    predictor = predict.load(build, state, described, context.device, context.precision)
    share = [frames[index] for index in processes.share(len(frames))]
    shown = track(share, len(share), f"train: masks of round {number}") if processes.is_main else share
    least = params.train.round_confidence
    for frame, mask in rounds.relabel(predictor, shown, artifacts.load_image, ids.__getitem__, least):
        artifacts.save_round_mask(number, frame, mask)
    processes.any(False)  # all have written their share
    data = supervision.read(
        {"train": frames, "val": first.data.val.frames},
        artifacts.load_image,
        partial(artifacts.mask_of_round, number, frozenset(frames), first.data.val.load_mask),
        config.ids,
        supervision.Supervision(f"mask of round {number}", "train", "lower train.round_confidence"),
        processes,
    )
    return replace(first, data=replace(data, skipped=first.data.skipped + data.skipped))


def _restore(artifacts: Artifacts, store: ResultStore, key: str, number: int) -> TrainingResult | None:
    """Put the weights of a stored round in place and return its result; None where there is none."""
    if number == 1 and store.has(key):
        empty_dir(artifacts.segmenter_folder)
    return large_entries.get(store, key, {"weights": artifacts.segmenter_weights}, TrainingResult.of_record)


def _keep(
    params: Params,
    artifacts: Artifacts,
    first: _Inputs,
    runtime: Runtime,
    store: ResultStore,
    keys: Sequence[str],
    stored: Sequence[bool],
    curves: RoundCurves,
) -> None:
    """Store the round that was trained last, unless it came from the store or an input has changed meanwhile."""
    with suppress(DataError):  # an input that is gone is another input
        if not stored[-1] and _keys(params, artifacts, first, runtime) == keys:
            record, files = curves.done[-1].record(), {"weights": artifacts.segmenter_weights}
            large_entries.put(store, keys[len(stored) - 1], record, files)


def _write(params: Params, artifacts: Artifacts, inputs: _Inputs, curves: RoundCurves) -> None:
    if artifacts.frames_are_packed():
        for number in range(2, len(curves.done) + 1):
            artifacts.pack_round_masks(number)
    artifacts.save_segmenter_config(_described(params, inputs))
    artifacts.save_curve(list(curves.points()))
    save_json(artifacts.metrics_path("train.json"), fit.report(curves.done, inputs.data))


def _unused(train: Train) -> list[str]:
    """Return the parameters that the others leave without an effect."""
    used = {"class_balanced_beta": train.class_weights == "class_balanced", "mean_teacher": train.teacher is not None}
    return [name for name, is_used in used.items() if not is_used]


def _ids_by_frame(params: Params, artifacts: Artifacts, first: _Inputs) -> dict[str, list[int]]:
    frames, background = first.data.train.frames, bool(params.background)
    found = artifacts.ids_by_frame(frames, params.classes.names, background=background)
    return {frame: [index for index in ids if index in first.config.trained_ids] for frame, ids in found.items()}


def _checkpoints(artifacts: Artifacts, keys: Sequence[str]) -> list[Checkpoints]:
    """Return the checkpoint of each round; removing the first one removes all."""
    first = Checkpoints(artifacts.scratch_folder / "train", keys[0][:16])
    own = first.path.parent
    return [first, *(Checkpoints(own / f"round_{number}", key[:16]) for number, key in enumerate(keys[1:], 2))]


def _keys(params: Params, artifacts: Artifacts, inputs: _Inputs, runtime: Runtime) -> list[str]:
    """Return the key of each round: a round depends on the one before it and on the image labels."""
    keys = [_key(params, artifacts, inputs, runtime)]
    if params.train.rounds > 1:
        shared = [fingerprint.digest("wildseg.segment.rounds"), _ids_by_frame(params, artifacts, inputs)]
        for number in range(2, params.train.rounds + 1):
            keys.append(key_of([keys[-1], number, params.train.round_confidence, shared]))
    return keys


def _described(params: Params, inputs: _Inputs) -> dict[str, Any]:
    """Return the config of the model."""
    described = fit.description(inputs.config, params.classes.names, inputs.norm)
    if architecture.needs_phrases(_module(inputs.config)):  # and then has an encoder that is not saved
        described[architecture.NAMED] = params.train.encoder_weights
    if inputs.config.held_out:
        described[vocabulary.HELD_OUT] = list(params.train.hold_out)
    return described


def _key(params: Params, artifacts: Artifacts, inputs: _Inputs, runtime: Runtime) -> str:
    """Return the key of everything that the network of the first round depends on: hex."""
    config, context, data = inputs.config, inputs.context, inputs.data
    code = fingerprint.digest(
        "wildseg.segment.fit",
        f"wildseg.methods.architectures.{config.train.architecture}",
        f"wildseg.methods.losses.{config.train.loss}",
        "wildseg.artifacts.supervision",
    )
    # A file of encoder weights is known by its content, wherever the project lies; so here are the parameters as read.
    train = fields_but(params.train, *DECIDES_NO_NETWORK, *_unused(params.train), "options", "min_confidence")
    options = [config.options, config.loss_options]
    chosen: list[object] = [train, options, config.min_confidence, config.num_classes, config.ids]
    if architecture.needs_phrases(_module(config)):
        chosen += [_phrases(params), _beside(config, artifacts.root), versions("open_clip_torch", "scipy")]
    settings = [chosen, context.seed, context.precision, context.device.split(":")[0]]
    frames = [*data.train.frames, *data.val.frames]
    weights = config.train.encoder_weights
    files = artifacts.training_digests(params.train.supervision, frames, config.guided, weights)
    return key_of([settings, data.train.frames, data.val.frames, inputs.norm.mean, inputs.norm.std, files, code,
                   versions(*LIBRARIES), gpus(runtime)[:1]])  # fmt: skip
