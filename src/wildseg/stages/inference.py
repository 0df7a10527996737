"""The trained model's answers to many frames: by workers that each hold the model, and only for frames that are new."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.errors import DataError
from wildseg.core.files import encode_label_image
from wildseg.core.progress import track
from wildseg.execution import fingerprint, result_store
from wildseg.execution import old_frame_task as frame_task
from wildseg.execution.runtime import Runtime, worker_device
from wildseg.execution.worker_pool import WorkerPool, gpus
from wildseg.execution.worker_pool import worker_pool as crew

if TYPE_CHECKING:  # workers import torch, all at the same time; this process has no use for it
    from wildseg.segment.predict import Predictor


@dataclass(frozen=True)
class Settings:
    """How to ask: the classes that the model must know, and the scales and flip of `Predictor.probabilities`."""

    class_names: tuple[str, ...]
    scales: Sequence[float] = (1.0,)
    flip: bool = False


def predict(artifacts: Artifacts, runtime: Runtime, frames: Sequence[str], settings: Settings, folder: Path) -> str:
    """Write the model's ids of each of `frames` into `folder`, see `answer_path`; return how many the cache knew.

    Raises:
        DataError: there is no model, it is of other classes, or a frame cannot be read.
    """
    kept = frame_task.Cache(artifacts.root, "eval", _recipe(artifacts, runtime, settings, folder))
    served = kept.serve(frames, partial(_crew, artifacts, runtime, settings))
    for _ in track(served, len(frames), "eval: model") if frames else ():
        pass
    return str(kept)


def answer_path(folder: Path, frame: str) -> Path:
    """Return where `predict` leaves the answer to a frame: a palette PNG of ids (H, W)."""
    return folder / f"{frame}.png"


def _recipe(artifacts: Artifacts, runtime: Runtime, settings: Settings, folder: Path) -> frame_task.Recipe[str]:
    config = artifacts.load_segmenter_config()
    _check_classes(config, settings, artifacts)
    ingredients = {
        "settings": settings,
        "config": config,
        "weights": hashlib.sha256(artifacts.segmenter_bytes()).hexdigest(),
        "code": fingerprint.digest(
            "wildseg.stages.inference", f"wildseg.methods.architectures.{_architecture(config)}"
        ),
        "libraries": result_store.versions("torch", "segmentation-models-pytorch", "timm", "numpy", "pillow"),
        "devices": gpus(runtime)[:1],
    }
    return frame_task.Recipe(ingredients, partial(_inputs, artifacts), partial(_files, folder), _answer)


def _check_classes(config: Mapping[str, Any], settings: Settings, artifacts: Artifacts) -> None:
    if config.get("classes") != list(settings.class_names):
        raise DataError(
            f"{artifacts.segmenter_folder}: expected a model of the classes {', '.join(settings.class_names)}; "
            f"found one of {config.get('classes')}; run 'dvc repro train'"
        )


def _architecture(config: Mapping[str, Any]) -> str:
    name = str(config.get("architecture"))
    lookup.check("methods.architectures", name, "models/segmenter")
    return name


def _inputs(artifacts: Artifacts, frame: str) -> tuple[bytes]:
    return (artifacts.frame_bytes(frame),)


def _files(folder: Path, frame: str) -> dict[str, Path]:
    return {"ids": answer_path(folder, frame)}


# In a worker -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tools:
    artifacts: Artifacts
    predictor: Predictor
    settings: Settings


def _crew(artifacts: Artifacts, runtime: Runtime, settings: Settings, frames: int) -> WorkerPool[_Tools]:
    return crew(runtime, frames, partial(_prepare, artifacts, settings, runtime.device), model=True)


def _prepare(artifacts: Artifacts, settings: Settings, device: str, rank: int) -> _Tools:
    from wildseg.segment import predict

    state, config = artifacts.load_segmenter()
    architecture = lookup.load("methods.architectures", _architecture(config), "models/segmenter")
    return _Tools(artifacts, predict.load(architecture.build, state, config, worker_device(device, rank)), settings)


def _answer(frame: str, tools: _Tools) -> result_store.Entry:
    image = tools.artifacts.load_image(frame)
    (ids,) = tools.predictor.predict([image], tools.settings.scales, tools.settings.flip)
    return result_store.Entry(None, {"ids": encode_label_image(ids)})
