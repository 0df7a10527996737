"""The trained model in MLflow: logged with a run, registered under a name, and served by `mlflow models serve`.

It is this package's own loading code beside the safetensors, so that nothing is pickled.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.tracking.quiet import short_reason
from wildseg.tracking.sqlite import database_of, no_stray_folder
from wildseg.tracking.store import EXPERIMENT, MlflowStore

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

MODEL = "segmenter"
NEWEST = "newest"  # the alias of the last version that was registered
EXAMPLE = (48, 64)  # height and width of the example of an input


def registered_name() -> str:
    """Return the name that models are registered under: that of the experiment, and what it is."""
    return f"{os.environ.get('MLFLOW_EXPERIMENT_NAME') or EXPERIMENT}-{MODEL}"


def log_model(
    store: MlflowStore, run_id: str, folder: Path, config: Mapping[str, Any], class_names: Sequence[str]
) -> None:
    """Log a model with its signature and an example of an input, and register it as the newest of its name.

    A store without a registry, or one that this user may not write to, costs one line.

    Args:
        store: of the run.
        run_id: of the run.
        folder: of the model.
        config: of the model; what is done to an image before the network is in the metadata.
        class_names: by id, the background first; in the metadata, too.
    """
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    # The registry is a connection of its own, which makes folders as that of the runs does.
    guard = no_stray_folder(store.uri) if database_of(store.uri) is not None else nullcontext()
    try:
        with guard, mlflow.start_run(run_id=run_id, log_system_metrics=False):
            model = mlflow.pyfunc.log_model(
                name=MODEL,
                loader_module="wildseg.tracking.model",
                data_path=str(folder),
                code_paths=[str(Path(__file__).parents[1])],
                pip_requirements=requirements(),
                signature=_signature(),
                input_example=_example(),
                metadata={"classes": list(class_names), "preprocessing": preprocessing(config)},
            )
            _register(store, run_id, model.model_uri, str(model.model_id), class_names)
    finally:
        mlflow.set_tracking_uri(None)


def _register(store: MlflowStore, run_id: str, uri: str, model_id: str, class_names: Sequence[str]) -> None:
    from mlflow.exceptions import MlflowException

    name = registered_name()
    try:
        try:
            store.client.create_registered_model(name, description="Segmentation models trained on pseudo masks.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = store.client.create_model_version(
            name, uri, run_id=run_id, model_id=model_id, description=f"Ids: {_ids(class_names)}"
        )
        store.client.set_registered_model_alias(name, NEWEST, str(version.version))
    except Exception as error:  # whatever a server without a registry answers
        print(f"tracking: the model is logged, but not registered as {name} ({short_reason(error)})",
              file=sys.stderr, flush=True)  # fmt: skip


def _ids(class_names: Sequence[str]) -> str:
    # As code, which a page that shows Markdown leaves as it is.
    return ", ".join(f"{id_} `{name.replace('`', ' ')}`" for id_, name in enumerate(class_names))


def preprocessing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model does to an image before the network, in words and numbers; a client sends plain pixels."""
    return {
        "input": "(H, W, 3) uint8 RGB, any size",
        "scale": 1 / 255,
        "mean": list(config.get("mean", [])),
        "std": list(config.get("std", [])),
        "output": "(H, W) uint8 ids, see classes",
    }


def requirements() -> list[str]:
    """Return what the model needs to be loaded, with the versions that are installed here."""
    from importlib.metadata import version

    needed = ("numpy", "pillow", "safetensors", "segmentation-models-pytorch", "torch", "torchvision")
    return [f"{name}=={version(name).split('+')[0]}" for name in needed]


def _signature() -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    image = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, 3))])
    mask = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1))])
    return ModelSignature(inputs=image, outputs=mask)


def _example() -> np.ndarray:
    """Return a small image, (H, W, 3) uint8, whose colours run from corner to corner; of nobody's data."""
    across, down = np.meshgrid(np.linspace(0, 255, EXAMPLE[1]), np.linspace(0, 255, EXAMPLE[0]))
    return np.stack([across, down, 255 - across], axis=-1).round().astype(np.uint8)
