"""Training in phases: each takes over what the one before has learned, and a killed training goes on to the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wildseg.cam.networks import fit
from wildseg.cam.networks.data import LabelledImages
from wildseg.cam.networks.engine import network_maps
from wildseg.cam.networks.objective import CropConfig, MapObjective, TrainingFrames
from wildseg.cam.params import Cam
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.execution import defaults
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.context import TrainContext
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer

LABELS = np.array([[True, False], [False, True], [True, True]])


def cam(**values: object) -> Cam:
    return defaults.section(Cam, "cam", **values)


class Pixelwise(nn.Module):
    """A colour per class, and a prior that one phase gives to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 2, 1)
        self.register_buffer("prior", torch.zeros(2))


class Phase(MapObjective):
    """Learns whether a class is in a crop by the mean colour; counts how much its first phase's maps are."""

    def __init__(self, steps: int, first: MapObjective | None = None) -> None:
        super().__init__(
            OptimConfig(steps, 0.1), CropConfig(8, 2, "long", (8, 16)), Normalisation(), 4, ("net",), first=first
        )
        torch.manual_seed(5)
        self.net = Pixelwise()
        self.networks = {"net": self.net}
        self.started_from: list[dict[str, Tensor]] = []

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.net.head(batch["image"]).mean((2, 3)) + torch.rand(()) * 0.1
        return {"bce": nn.functional.binary_cross_entropy_with_logits(logits, batch["labels"])}

    def maps(self, pixels: Tensor, classes: Sequence[int]) -> Tensor:
        assert not self.net.training
        cells = nn.functional.avg_pool2d(self.net.head(pixels), 4)
        return cells[0, list(classes)].relu()

    def follow(self, first: MapObjective, frames: TrainingFrames) -> None:
        super().follow(first, frames)
        sums = [frames.maps(first, image, [0, 1]).sum((1, 2)) for image in frames.images()]
        self.net.prior.copy_(torch.from_numpy(np.mean(sums, 0)))
        self.started_from.append({name: value.clone() for name, value in self.net.state_dict().items()})


def images() -> LabelledImages:
    def load(name: str) -> np.ndarray:
        return np.random.default_rng(int(name)).integers(0, 256, (12, 16, 3), np.uint8)

    return LabelledImages([*"012"], LABELS, load)


def test_phases_are_trained_in_their_order_and_steps_are_counted_through() -> None:
    last = Phase(3, Phase(2, Phase(4)))
    assert fit.steps(last) == 9
    events = list(fit.train(last, images(), TrainContext(), cam()))
    assert [(event.phase, event.step) for event in events] == [
        *((0, k) for k in range(1, 5)), *((1, k) for k in (5, 6)), *((2, k) for k in (7, 8, 9))
    ]  # fmt: skip
    assert all(np.isfinite(event.event.loss or 0) for event in events)


def test_a_phase_starts_from_the_weights_of_the_one_before_and_from_its_maps() -> None:
    first = Phase(4)
    last = Phase(0, first)
    list(fit.train(last, images(), TrainContext(), cam(scales=(1.0,))))
    (start,) = last.started_from
    assert torch.equal(start["head.weight"], first.net.head.weight)
    assert torch.equal(last.net.head.weight, first.net.head.weight)  # no step of its own
    expected = [network_maps(first, images().image(k), [0, 1], cam(scales=(1.0,)), "cpu").sum((1, 2)) for k in range(3)]
    np.testing.assert_allclose(start["prior"], np.mean(expected, 0), rtol=1e-6)
    assert start["prior"].abs().sum() > 0


@pytest.mark.parametrize("killed_at", [1, 4, 5, 8])
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path: Path, killed_at: int) -> None:
    context = TrainContext(seed=3)
    clean = Phase(5, Phase(4))
    list(fit.train(clean, images(), context, cam()))

    def checkpoints(phase: int) -> Checkpoints:
        return Checkpoints(tmp_path, f"run-{phase}")

    def restore(phase: int, trainer: Trainer) -> bool:
        return checkpoints(phase).restore(trainer)

    for progress in fit.train(Phase(5, Phase(4)), images(), context, cam(), restore):
        if progress.step % 2 == 0 or progress.event.step == progress.trainer.optim.steps:
            checkpoints(progress.phase).save(progress.trainer)
        if progress.step == killed_at:
            break
    torch.manual_seed(77)
    again = Phase(5, Phase(4))
    steps = [progress.step for progress in fit.train(again, images(), context, cam(), restore)]
    last = max(step for step in (0, 2, 4, 6, 8) if step <= killed_at)
    assert steps == list(range(last + 1, 10))
    for name, value in clean.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name]), name


def test_maps_are_the_mean_over_scales_and_flips_on_the_finest_grid() -> None:
    phase = Phase(0)
    phase.net.eval()
    image = images().image(0)
    found = network_maps(phase, image, [1], cam(scales=(1.0, 2.0), flip=True), "cpu")
    assert found.shape == (1, 6, 8)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() == pytest.approx(1, abs=1e-6)
    mirrored = network_maps(phase, image[:, ::-1].copy(), [1], cam(scales=(1.0, 2.0), flip=True), "cpu")
    np.testing.assert_allclose(mirrored[..., ::-1], found, atol=2e-2)  # resized pixels are rounded to 8 bits
    assert network_maps(phase, image, [], cam(), "cpu").shape == (0, 5, 6)  # 1.5 times 12x16 in cells of 4, rounded up


def test_one_scale_without_a_flip_is_the_objectives_own_map_stretched() -> None:
    phase = Phase(0)
    phase.net.eval()
    image = images().image(2)
    pixels = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 - torch.tensor(phase.norm.mean)[:, None, None]) / (
        torch.tensor(phase.norm.std)[:, None, None]
    )
    raw = phase.maps(pixels, [0, 1]).detach().numpy()
    low, high = raw.min((1, 2), keepdims=True), raw.max((1, 2), keepdims=True)
    np.testing.assert_allclose(
        network_maps(phase, image, [0, 1], cam(scales=(1.0,)), "cpu"), (raw - low) / (high - low), atol=1e-5
    )
