"""The segmentation model: weights as safetensors, and the configuration of the network as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.curve import save_curve
from wildseg.artifacts.folder import Project
from wildseg.core.errors import DataError, check_regular
from wildseg.core.files import atomic, load_bytes, load_json, save_json
from wildseg.core.names import made_by

if TYPE_CHECKING:
    import torch

CURVE = ("loss", "lr", "val_miou")  # columns that every curve has


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a trained model, by name, from its folder.

    Raises:
        DataError: the file is missing or broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    try:
        check_regular(path)
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: expected a trained model ({error})") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config of a trained model from its folder.

    Raises:
        DataError: the file is missing or broken.
    """
    path = folder / "config.json"
    if not path.exists():
        raise DataError(f"{folder}: expected a trained model (config.json and model.safetensors), found no config.json")
    return load_json(path)


class SegmenterFiles(Project):
    """models/segmenter."""

    @property
    def segmenter_folder(self) -> Path:
        """The folder of the trained model."""
        return self.root / "models" / "segmenter"

    @property
    def segmenter_weights(self) -> Path:
        """The weights of the trained model, as safetensors."""
        return self.segmenter_folder / "model.safetensors"

    def save_segmenter(self, state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
        """Write models/segmenter: weights as safetensors, and the configuration of the network as JSON."""
        self.save_segmenter_weights(state)
        self.save_segmenter_config(config)

    def save_segmenter_weights(self, state: Mapping[str, torch.Tensor]) -> None:
        """Write models/segmenter/model.safetensors."""
        from safetensors.torch import save

        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
        with atomic(self.segmenter_weights) as path:
            # Not by safetensors' save_file: it hides a full disk in its own error type, and makes files private.
            path.write_bytes(content)

    def save_segmenter_config(self, config: Mapping[str, Any]) -> None:
        """Write models/segmenter/config.json."""
        save_json(self.segmenter_folder / "config.json", config)

    def save_curve(self, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Write metrics/train/curve.csv: one line for each (step, values by curve); an empty cell was not measured."""
        save_curve(self.metrics_path("train/curve.csv"), CURVE, points)

    def load_segmenter(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Read (weights by name, config) of the trained model.

        Raises:
            DataError: there is no model yet, or a file is broken.
        """
        with made_by("train"):
            return read_weights(self.segmenter_folder), load_json(self.segmenter_folder / "config.json")

    def load_segmenter_config(self) -> dict[str, Any]:
        """Read the config of the trained model alone.

        Raises:
            DataError: there is no model yet, or the file is broken.
        """
        with made_by("train"):
            return load_json(self.segmenter_folder / "config.json")

    def segmenter_bytes(self) -> bytes:
        """Return the file of the trained model's weights.

        Raises:
            DataError: there is no model yet.
        """
        with made_by("train"):
            return load_bytes(self.segmenter_weights)
