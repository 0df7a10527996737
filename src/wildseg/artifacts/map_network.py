"""The network that `cam` trained: weights as safetensors, what it is as JSON; without one, the JSON says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.curve import save_points
from wildseg.artifacts.folder import Project
from wildseg.artifacts.segmenter import read_weights
from wildseg.core.files import atomic, save_json
from wildseg.core.names import made_by

if TYPE_CHECKING:
    import torch


class MapNetworkFiles(Project):
    """models/cam."""

    @property
    def map_network_folder(self) -> Path:
        """The folder of a trained map network."""
        return self.root / "models" / "cam"

    @property
    def map_network_weights(self) -> Path:
        """Its weights, as safetensors."""
        return self.map_network_folder / "model.safetensors"

    def save_map_network_weights(self, state: Mapping[str, torch.Tensor]) -> None:
        """Write models/cam/model.safetensors."""
        from safetensors.torch import save

        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
        with atomic(self.map_network_weights) as path:
            path.write_bytes(content)

    def save_map_network_config(self, config: Mapping[str, Any]) -> None:
        """Write models/cam/config.json."""
        save_json(self.map_network_folder / "config.json", config)

    def save_map_network_curve(self, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Write metrics/cam/curve.csv: one line a point, of (step, values by curve); none where nothing was trained.

        Methods have other loss terms each, and a plot of DVC names its columns.
        """
        save_points(self.metrics_path("cam/curve.csv"), points)

    def load_map_network_weights(self) -> dict[str, torch.Tensor]:
        """Read the weights of the trained network, by name.

        Raises:
            DataError: nothing was trained yet, or the file is broken.
        """
        with made_by("cam"):
            return read_weights(self.map_network_folder)
