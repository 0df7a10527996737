"""Stage 5: key frames and their pseudo masks, or scribbles or points -> a segmentation model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.weak import MADE_BY, WEAK
from wildseg.core import lookup
from wildseg.core.errors import DataError, WildsegError
from wildseg.core.files import empty_dir, save_json, save_table
from wildseg.core.params import Params, Train
from wildseg.core.progress import track
from wildseg.encoders.cnn import normalisation
from wildseg.encoders.cnn.build import loaded
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.execution import launcher
from wildseg.execution.runtime import Runtime, torch_device
from wildseg.segment import validate
from wildseg.segment.augment import augmentation
from wildseg.segment.checkpoint import Checkpoints, key_of
from wildseg.segment.data import MASKS, Batches, Pairs, Supervision, count_pixels, stream
from wildseg.segment.loop import Event, Recipe, Trainer
from wildseg.segment.losses import only_confident, sqrt_inverse_weights
from wildseg.segment.predict import Predictor, describe, resolve_precision
from wildseg.tracking import mlflow_run
from wildseg.training.team import Team, join

SUPERVISION = {"masks": MASKS, **{kind: Supervision(kind, MADE_BY) for kind in WEAK}}
LOOK_AT = {
    "masks": "see metrics/crf.json, lower crf.confidence or train.mu",
    "weak": "see metrics/weak.json, lower weak.scribble or weak.tau",
}
LOADERS = 8  # processes that prepare batches for a GPU; on the CPU training itself takes all cores


@dataclass(frozen=True)
class _Data:
    train: Pairs
    val: Pairs
    counts: np.ndarray  # (C + 1,) labelled pixels of each id in the training frames
    skipped: int  # frames without a labelled pixel


def run(params: Params, artifacts: Artifacts, runtime: Runtime, accept: Callable[[], object] = lambda: None) -> None:
    """Write models/segmenter, metrics/train.json and metrics/train/curve.csv; go on from a checkpoint if one fits.

    `accept` is called when all is written and the checkpoint still there; what it raises keeps that for the next run.

    Raises:
        DataError: no frame with a labelled pixel, or masks that are missing, broken or of other classes.
        WildsegError: a network, its weights or the device cannot be had.
    """
    torch.set_num_threads(min(torch.get_num_threads(), runtime.workers))
    team = _join(params, runtime)
    precision = resolve_precision(params.train.precision, team.device)
    ids = tuple(range(0 if params.background else 1, len(params.classes) + 1))

    data = _read(params, artifacts, ids, team)
    weights = _encoder_weights(params, artifacts)
    looks = normalisation.of(params.train.encoder, weights)
    trainer = _trainer(params, data, ids, weights, team, precision)
    if team.leads and weights:
        print(f"train: {loaded(trainer.network)}; {looks}", flush=True)
    checkpoints = _checkpoints(params, artifacts, data, weights, looks, team.device, precision)
    restored = checkpoints.restore(trainer)
    team.check_same(trainer.step, "step of the checkpoint")
    events = _while_launched(_events(params, data, trainer, ids, looks, runtime), team)
    if team.leads:
        if checkpoints.unusable:
            print(f"train: {checkpoints.unusable}; begins anew", flush=True)
        if restored:
            print(f"train: goes on from step {trainer.step} of {params.train.steps}", flush=True)
        _lead(params, artifacts, data, trainer, ids, looks, checkpoints, events)
        accept()
        checkpoints.remove()
    else:
        deque(events, maxlen=0)  # computed, and written by the process that leads
    team.leave()


def _lead(
    params: Params,
    artifacts: Artifacts,
    data: _Data,
    trainer: Trainer,
    ids: tuple[int, ...],
    looks: Normalisation,
    checkpoints: Checkpoints,
    events: Iterator[Event],
) -> None:
    """Train to the end; write, track and print what comes of it."""
    empty_dir(artifacts.segmenter_folder)
    with mlflow_run.training(artifacts, params, trainer.step) as tracker:
        for event in track(events, params.train.steps - trainer.step, "train"):
            if event.loss is not None:
                extra = {} if event.val_miou is None else {"val_miou": event.val_miou}
                tracker.log(event.step, loss=event.loss, lr=event.lr, **extra)
                _save_curve(artifacts, trainer)
            if event.step % params.train.checkpoint_every == 0:
                checkpoints.save(trainer)
        _save(params, artifacts, data, trainer, ids, looks)
    print(_summary(trainer, data))


def _join(params: Params, runtime: Runtime) -> Team:
    device = torch_device(runtime.device)
    team = join(device) if launcher.one_of_several() else Team(device=device)
    if params.train.batch_size < team.size:
        raise WildsegError(
            f"train.batch_size: expected at least one image for each of {team.size} processes, found "
            f"{params.train.batch_size}; raise it, or launch fewer"
        )
    return team


def _read(params: Params, artifacts: Artifacts, ids: Sequence[int], team: Team) -> _Data:
    mu = params.train.mu if params.train.loss == "confidence_guided" else None
    kind = params.train.supervision
    load_mask = partial(_load_mask, artifacts=artifacts, kind=kind, mu=mu)
    before = "crf" if kind == "masks" else kind
    frames = {split: [frame.name for frame in artifacts.load_frames(split, after=before)] for split in ("train", "val")}
    everything = frames["train"] + frames["val"]
    counts, sizes = _count(everything, load_mask, ids, team, kind)
    usable = {split: [frame for frame in names if counts[frame].any()] for split, names in frames.items()}
    if not usable["train"]:
        certain = "" if mu is None else f" of at least train.mu = {mu:g} confidence"
        raise DataError(
            f"train: expected training frames with labelled pixels{certain}, found none in {len(frames['train'])} "
            f"frames of the split train; {LOOK_AT['masks' if kind == 'masks' else 'weak']}, or check the labels"
        )
    return _Data(
        Pairs(usable["train"], artifacts.load_image, load_mask, sizes=sizes, kind=SUPERVISION[kind]),
        Pairs(usable["val"], artifacts.load_image, load_mask, kind=SUPERVISION[kind]),
        sum((counts[frame] for frame in usable["train"]), np.zeros(ids[-1] + 1, np.int64)),
        len(everything) - len(usable["train"]) - len(usable["val"]),
    )


def _count(
    frames: Sequence[str], load_mask: Callable[[str], np.ndarray], ids: Sequence[int], team: Team, kind: str
) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, int]]]:
    """Return labelled pixels of each id and size (H, W) of each frame; the processes of a team read a share each."""
    pixels, sizes = np.zeros((len(frames), ids[-1] + 1), np.int64), np.zeros((len(frames), 2), np.int64)
    mine = team.share(len(frames))
    for index in track(mine, len(mine), f"train: {kind}") if team.leads else mine:
        mask = load_mask(frames[index])
        sizes[index] = mask.shape
        pixels[index] = count_pixels([(frames[index], mask)], ids, SUPERVISION[kind])[frames[index]]
    pixels, sizes = team.sum_array(pixels), team.sum_array(sizes)
    known = {frame: (int(height), int(width)) for frame, (height, width) in zip(frames, sizes, strict=True)}
    return dict(zip(frames, pixels, strict=True)), known


def _load_mask(frame: str, *, artifacts: Artifacts, kind: str, mu: float | None) -> np.ndarray:
    mask = artifacts.load_mask(frame) if kind == "masks" else artifacts.load_weak(kind, frame)
    return mask if mu is None else only_confident(mask, artifacts.load_confidence(frame), mu)


def _encoder_weights(params: Params, artifacts: Artifacts) -> str | None:
    # A file is named from the folder of dvc.yaml; anything else is the name of a published set.
    wish = params.train.encoder_weights
    return str(artifacts.root / wish) if wish and wish.endswith(".safetensors") else wish


def _trainer(
    params: Params, data: _Data, ids: tuple[int, ...], encoder_weights: str | None, team: Team, precision: str
) -> Trainer:
    settings = params.train
    architecture = lookup.load("methods.architectures", settings.architecture, "train.architecture")
    torch.manual_seed(params.seed)  # the first weights
    options = settings.options.get(settings.architecture, {})
    network = architecture.build(len(params.classes), settings.encoder, encoder_weights, **options)
    weights = sqrt_inverse_weights(data.counts) if settings.class_weights == "sqrt_inverse" else None
    recipe = Recipe(
        steps=settings.steps,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        precision=precision,
        validate_every=settings.validate_every,
        ids=ids,
        seed=params.seed,
    )
    return Trainer(network, recipe, None if weights is None else torch.from_numpy(weights), team.device, team)


def _checkpoints(
    params: Params,
    artifacts: Artifacts,
    data: _Data,
    encoder_weights: str | None,
    looks: Normalisation,
    device: str,
    precision: str,
) -> Checkpoints:
    settings = params.train
    chosen = {settings.architecture: settings.options.get(settings.architecture, {})}
    matters = replace(settings, options=chosen, checkpoint_every=1)
    values = (matters, params.seed, len(params.classes), bool(params.background), device.split(":")[0], precision,
              looks.mean, looks.std)  # fmt: skip
    return Checkpoints(
        artifacts.root / ".wildseg" / "train", key_of(_files(artifacts, data, settings, encoder_weights), values)
    )


def _files(
    artifacts: Artifacts, data: _Data, settings: Train, encoder_weights: str | None
) -> Iterator[tuple[str, bytes]]:
    kind = settings.supervision
    for frame in (*data.train.frames, *data.val.frames):
        yield f"{frame}.jpg", artifacts.frame_bytes(frame)
        yield f"{frame}.png", artifacts.mask_bytes(frame) if kind == "masks" else artifacts.weak_bytes(kind, frame)
        if settings.loss == "confidence_guided":
            yield f"{frame}.png", artifacts.confidence_bytes(frame)
    if encoder_weights and encoder_weights.endswith(".safetensors"):
        yield Path(encoder_weights).name, Path(encoder_weights).read_bytes()


def _events(
    params: Params, data: _Data, trainer: Trainer, ids: tuple[int, ...], looks: Normalisation, runtime: Runtime
) -> Iterator[Event]:
    settings = params.train
    low, high = settings.scale
    transform = augmentation(settings.crop, (low, high), settings.flip, settings.colour, looks.mean, looks.std)
    team = trainer.team
    batches = Batches(data.train, transform, settings.batch_size, params.seed, team.share(settings.batch_size))
    workers = max(1, min(runtime.workers // team.here, LOADERS)) if trainer.device.startswith("cuda") else 0
    precision = trainer.recipe.precision
    predictor = Predictor(trainer.network, ids, looks.mean, looks.std, trainer.device, precision)
    return trainer.run(
        partial(stream, batches, workers=workers),
        partial(validate.miou, predictor, data.val, ids[-1] + 1, team) if len(data.val) else None,
    )


def _while_launched(events: Iterator[Event], team: Team) -> Iterator[Event]:
    for event in events:
        team.check_launcher()
        yield event


def _save_curve(artifacts: Artifacts, trainer: Trainer) -> None:
    rows = [
        (event.step, f"{event.loss:.6f}", f"{event.lr:.8f}", "" if event.val_miou is None else f"{event.val_miou:.6f}")
        for event in trainer.history
    ]
    save_table(artifacts.metrics_path("train/curve.csv"), ("step", "loss", "lr", "val_miou"), rows)


def _save(
    params: Params, artifacts: Artifacts, data: _Data, trainer: Trainer, ids: tuple[int, ...], looks: Normalisation
) -> None:
    settings = params.train
    options = settings.options.get(settings.architecture, {})
    names = params.classes.names
    config = describe(settings.architecture, settings.encoder, options, names, ids, looks.mean, looks.std)
    _save_curve(artifacts, trainer)
    artifacts.save_segmenter(trainer.weights(), config)
    report = {
        "val_miou": trainer.best.miou if trainer.best else None,
        "best_step": trainer.best.step if trainer.best else trainer.step,
        "steps": trainer.step,
        "loss": trainer.history[-1].loss,
        "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
        "frames_train": len(data.train),
        "frames_val": len(data.val),
        "frames_skipped": data.skipped,
    }
    save_json(artifacts.metrics_path("train.json"), report)


def _summary(trainer: Trainer, data: _Data) -> str:
    kept = (
        f"best val mIoU {trainer.best.miou:.3f} at step {trainer.best.step} of {trainer.step}"
        if trainer.best
        else f"no validation frames: the weights of the last step, {trainer.step}, are kept"
    )
    return f"train: {len(data.train)} frames, {kept}, {data.skipped} frames without labelled pixels left out"
