"""Training in phases: each takes over what the one before has learned, and a killed training goes on to the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from wildseg.cam.networks import fit
from wildseg.cam.networks.data import LabelledImages
from wildseg.cam.networks.engine import network_maps, share_of_maximum
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


# Maps ----------------------------------------------------------------------------------------------------------------


class Signed(Phase):
    """Maps of both signs, so that the place of a relu shows."""

    def maps(self, pixels: Tensor, classes: Sequence[int]) -> Tensor:
        return nn.functional.avg_pool2d(self.net.head(pixels), 4)[0, list(classes)]


def evaluating(phase: Phase, stretched: bool) -> Phase:
    phase.stretched = stretched
    phase.net.eval()
    return phase


def by_hand(phase: Phase, number: int, height: int, width: int, flipped: bool) -> np.ndarray:
    """The raw maps (2, h, w) of an image resized to a size, turned back, by loops over cells."""
    image = np.array(Image.fromarray(images().image(number)).resize((width, height), Image.Resampling.BICUBIC))
    pixels = (image / 255 - np.array(phase.norm.mean)) / np.array(phase.norm.std)
    pixels = pixels[:, ::-1] if flipped else pixels
    weight, bias = phase.net.head.weight.detach()[:, :, 0, 0].numpy(), phase.net.head.bias.detach().numpy()
    maps = np.zeros((2, height // 4, width // 4))
    for y, x in np.ndindex(maps.shape[1:]):
        maps[:, y, x] = weight @ pixels[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean((0, 1)) + bias
    return maps[:, :, ::-1] if flipped else maps


def enlarged(maps: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Maps on a grid, by the bilinear formula at the centre of each cell."""
    _, h, w = maps.shape
    result = np.zeros((len(maps), rows, columns))
    for y, x in np.ndindex(rows, columns):
        v, u = max((y + 0.5) * h / rows - 0.5, 0), max((x + 0.5) * w / columns - 0.5, 0)
        top, left = int(v), int(u)
        below, right = min(top + 1, h - 1), min(left + 1, w - 1)
        upper = maps[:, top, left] * (1 - u + left) + maps[:, top, right] * (u - left)
        lower = maps[:, below, left] * (1 - u + left) + maps[:, below, right] * (u - left)
        result[:, y, x] = upper * (1 - v + top) + lower * (v - top)
    return result


def stretch(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / (high - low)


VIEWS = [(size, flipped) for size in ((12, 16), (24, 32)) for flipped in (False, True)]


def test_as_published_the_mean_of_raw_maps_is_rectified_and_divided_by_its_maximum_once() -> None:
    phase = evaluating(Signed(0), stretched=False)
    found = network_maps(phase, images().image(0), [0, 1], cam(scales=(1.0, 2.0), flip=True), "cpu")
    raw = [enlarged(by_hand(phase, 0, *size, flipped), 6, 8) for size, flipped in VIEWS]
    assert np.min(raw) < 0 < np.max(raw)
    mean = np.maximum(np.mean(raw, 0), 0)
    np.testing.assert_allclose(found, mean / mean.max((1, 2), keepdims=True), atol=1e-5)
    assert found.dtype == np.float32
    each = np.mean([stretch(view) for view in raw], 0)
    assert np.abs(found - stretch(each)).max() > 0.05  # the other order is another result


def test_stretched_maps_are_averaged_as_those_of_training_free_methods() -> None:
    phase = evaluating(Signed(0), stretched=True)
    found = network_maps(phase, images().image(0), [0, 1], cam(scales=(1.0, 2.0), flip=True), "cpu")
    raw = [by_hand(phase, 0, *size, flipped) for size, flipped in VIEWS]
    mean = np.mean([enlarged(stretch(view), 6, 8) for view in raw], 0)
    np.testing.assert_allclose(found, stretch(mean), atol=1e-5)


@pytest.mark.parametrize("stretched", [True, False])
def test_one_view_is_the_objectives_own_map(stretched: bool) -> None:
    phase = evaluating(Signed(0), stretched)
    raw = by_hand(phase, 2, 12, 16, flipped=False)
    rectified = np.maximum(raw, 0)
    expected = stretch(raw) if stretched else rectified / rectified.max((1, 2), keepdims=True)
    found = network_maps(phase, images().image(2), [0, 1], cam(scales=(1.0,), flip=False), "cpu")
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("stretched", [True, False])
def test_no_queried_class_has_no_map(stretched: bool) -> None:
    phase = evaluating(Phase(0), stretched)
    image = images().image(0)
    assert network_maps(phase, image, [], cam(), "cpu").shape == (0, 5, 6)  # 1.5 times 12x16 in cells of 4, rounded up


def test_a_map_that_is_constant_or_nowhere_positive_is_zero() -> None:
    maps = torch.stack([torch.full((2, 3), 4.0), torch.full((2, 3), -1.0), torch.tensor([[-2.0, 0, 1], [0, 2, 4]])])
    expected = torch.tensor([[0.0, 0, 0.25], [0, 0.5, 1]])
    torch.testing.assert_close(share_of_maximum(maps), torch.stack([torch.zeros(2, 3), torch.zeros(2, 3), expected]))
