"""Stage 5: key frames and their pseudo masks -> a segmentation model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wildseg import plugins, tracking
from wildseg.artifacts import Artifacts
from wildseg.errors import DataError
from wildseg.files import fresh, save_json, save_table
from wildseg.params import Params
from wildseg.progress import track
from wildseg.runtime import Runtime, torch_device
from wildseg.segment import validate
from wildseg.segment.augment import augmentation
from wildseg.segment.checkpoint import Checkpoints, key_of
from wildseg.segment.data import Batches, Pairs, count_pixels, stream
from wildseg.segment.loop import Event, Recipe, Trainer
from wildseg.segment.losses import only_confident, sqrt_inverse_weights
from wildseg.segment.predict import Predictor, describe, resolve_precision

LOADERS = 8  # processes that prepare batches for a GPU; on the CPU training itself takes all cores


@dataclass(frozen=True)
class _Data:
    train: Pairs
    val: Pairs
    counts: np.ndarray  # (C + 1,) labelled pixels of each id in the training frames
    skipped: int  # frames without a labelled pixel


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write models/segmenter, metrics/train.json and metrics/train/curve.csv; go on from a checkpoint if one fits.

    Raises:
        DataError: no frame with a labelled pixel, or masks that are missing, broken or of other classes.
        WildsegError: a network, its weights or the device cannot be had.
    """
    torch.set_num_threads(min(torch.get_num_threads(), runtime.workers))
    device = torch_device(runtime.device)
    precision = resolve_precision(params.train.precision, device)
    ids = tuple(range(0 if params.background else 1, len(params.classes) + 1))

    data = _read(params, artifacts, ids)
    weights = _encoder_weights(params, artifacts)
    trainer = _trainer(params, data, ids, weights, device, precision)
    checkpoints = _checkpoints(params, artifacts, data, weights, device, precision)
    fresh(artifacts.segmenter_folder)
    if checkpoints.restore(trainer):
        print(f"train: goes on from step {trainer.step} of {params.train.steps}", flush=True)

    with tracking.training(artifacts, params, trainer.step) as tracker:
        for event in track(_events(params, data, trainer, ids, runtime), params.train.steps - trainer.step, "train"):
            if event.loss is not None:
                extra = {} if event.val_miou is None else {"val_miou": event.val_miou}
                tracker.log(event.step, loss=event.loss, lr=event.lr, **extra)
                _save_curve(artifacts, trainer)
            if event.step % params.train.checkpoint_every == 0:
                checkpoints.save(trainer)
        _save(params, artifacts, data, trainer, ids)
    checkpoints.remove()
    print(_summary(trainer, data))


def _read(params: Params, artifacts: Artifacts, ids: Sequence[int]) -> _Data:
    mu = params.train.mu if params.train.loss == "confidence_guided" else None
    load_mask = partial(_load_mask, artifacts=artifacts, mu=mu)
    frames = {split: [frame.name for frame in artifacts.load_frames(split, after="crf")] for split in ("train", "val")}
    everything = frames["train"] + frames["val"]
    masks = ((frame, load_mask(frame)) for frame in track(everything, len(everything), "train: masks"))
    counts = count_pixels(masks, ids)
    usable = {split: [frame for frame in names if counts[frame].any()] for split, names in frames.items()}
    if not usable["train"]:
        certain = "" if mu is None else f" of at least train.mu = {mu:g} confidence"
        raise DataError(
            f"train: expected training frames with labelled pixels{certain}, found none in {len(frames['train'])} "
            "frames of the split train; see metrics/crf.json, lower crf.confidence or train.mu, or check the labels"
        )
    return _Data(
        Pairs(usable["train"], artifacts.load_image, load_mask),
        Pairs(usable["val"], artifacts.load_image, load_mask),
        sum((counts[frame] for frame in usable["train"]), np.zeros(ids[-1] + 1, np.int64)),
        len(everything) - len(usable["train"]) - len(usable["val"]),
    )


def _load_mask(frame: str, *, artifacts: Artifacts, mu: float | None) -> np.ndarray:
    mask = artifacts.load_mask(frame)
    return mask if mu is None else only_confident(mask, artifacts.load_confidence(frame), mu)


def _encoder_weights(params: Params, artifacts: Artifacts) -> str | None:
    # A file is named from the folder of dvc.yaml; anything else is the name of a published set.
    wish = params.train.encoder_weights
    return str(artifacts.root / wish) if wish and wish.endswith(".safetensors") else wish


def _trainer(
    params: Params, data: _Data, ids: tuple[int, ...], encoder_weights: str | None, device: str, precision: str
) -> Trainer:
    settings = params.train
    architecture = plugins.load("segment.architectures", settings.architecture, "train.architecture")
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
    return Trainer(network, recipe, None if weights is None else torch.from_numpy(weights), device)


def _checkpoints(
    params: Params, artifacts: Artifacts, data: _Data, encoder_weights: str | None, device: str, precision: str
) -> Checkpoints:
    settings = params.train
    chosen = {settings.architecture: settings.options.get(settings.architecture, {})}
    matters = replace(settings, options=chosen, checkpoint_every=1)
    values = (matters, params.seed, len(params.classes), bool(params.background), device.split(":")[0], precision)
    return Checkpoints(
        artifacts.root / ".wildseg" / "train", key_of(_files(artifacts, data, settings.loss, encoder_weights), values)
    )


def _files(artifacts: Artifacts, data: _Data, loss: str, encoder_weights: str | None) -> Iterator[tuple[str, bytes]]:
    for frame in (*data.train.frames, *data.val.frames):
        yield f"{frame}.jpg", artifacts.frame_bytes(frame)
        yield f"{frame}.png", artifacts.mask_bytes(frame)
        if loss == "confidence_guided":
            yield f"{frame}.png", artifacts.confidence_bytes(frame)
    if encoder_weights and encoder_weights.endswith(".safetensors"):
        yield Path(encoder_weights).name, Path(encoder_weights).read_bytes()


def _events(params: Params, data: _Data, trainer: Trainer, ids: tuple[int, ...], runtime: Runtime) -> Iterator[Event]:
    settings = params.train
    low, high = settings.scale
    transform = augmentation(settings.crop, (low, high), settings.flip, settings.colour)
    batches = Batches(data.train, transform, settings.batch_size, params.seed)
    workers = min(runtime.workers, LOADERS) if trainer.device.startswith("cuda") else 0
    predictor = Predictor(trainer.network, ids, device=trainer.device, precision=trainer.recipe.precision)
    return trainer.run(
        partial(stream, batches, workers=workers),
        partial(validate.miou, predictor, data.val, ids[-1] + 1) if len(data.val) else None,
    )


def _save_curve(artifacts: Artifacts, trainer: Trainer) -> None:
    rows = [
        (event.step, f"{event.loss:.6f}", f"{event.lr:.8f}", "" if event.val_miou is None else f"{event.val_miou:.6f}")
        for event in trainer.history
    ]
    save_table(artifacts.metrics_path("train/curve.csv"), ("step", "loss", "lr", "val_miou"), rows)


def _save(params: Params, artifacts: Artifacts, data: _Data, trainer: Trainer, ids: tuple[int, ...]) -> None:
    settings = params.train
    options = settings.options.get(settings.architecture, {})
    config = describe(settings.architecture, settings.encoder, options, params.classes.names, ids)
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
