"""`cam.method: classifier`: its options, and every CAM method for CNNs on the trained network."""

from __future__ import annotations

import pytest
import torch

from tests.cam.networks import rendered
from wildseg.cam.maps import normalise
from wildseg.cam.networks.classifier import ClassifierObjective
from wildseg.core import lookup
from wildseg.core.errors import ModelError, ParamsError
from wildseg.methods.cam import classifier

SMALL = {"encoder": "resnet18", "crop": 32, "size": (32, 48), "batch_size": 4}
FOR_CNNS = [
    name
    for name in lookup.available("methods.cam")
    if lookup.needs("methods.cam", name) <= classifier.READABLE and name != "scorecam"  # 512 passes
]
CLASSES = [1, 4, 7]


def build(**options: object) -> ClassifierObjective:
    torch.manual_seed(0)
    built = classifier.build(rendered.context(), **{**SMALL, **options})  # type: ignore[arg-type]
    assert isinstance(built, ClassifierObjective)
    built.network.eval()
    return built


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))


def test_epochs_are_passes_over_the_training_frames() -> None:
    assert build(epochs=3).optim.steps == 6
    assert build(epochs=0.1).optim.steps == 1
    assert build(epochs=0).optim.steps == 0


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_the_maps_have_the_chosen_stride(stride: int, pixels: torch.Tensor) -> None:
    assert build(stride=stride).maps(pixels, CLASSES).shape == (3, 64 // stride, 96 // stride)


def test_a_vision_transformer_has_cells_of_its_patch(pixels: torch.Tensor) -> None:
    tested = build(encoder="tu-vit_tiny_patch16_224", stride=16)
    assert tested.maps(pixels, CLASSES).shape == (3, 4, 6)


@pytest.mark.parametrize("name", FOR_CNNS)
def test_every_cam_method_for_cnns_reads_the_classifier(name: str, pixels: torch.Tensor) -> None:
    maps = build(map=name).maps(pixels, CLASSES)
    assert maps.shape == (3, 4, 6)
    assert torch.isfinite(maps).all()
    assert (maps >= 0).all()


def test_behind_a_linear_head_cam_grad_cam_and_hirescam_are_the_class_map(pixels: torch.Tensor) -> None:
    expected = normalise(build().network.class_maps(pixels)[0, CLASSES].relu()).detach()
    for name in ("cam", "gradcam", "hirescam"):
        torch.testing.assert_close(normalise(build(map=name).maps(pixels, CLASSES)), expected, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_is_one_line() -> None:
    with pytest.raises(ParamsError, match=r"^cam\.options\.classifier\.map: expected one of .*; did you mean 'cam'"):
        build(map="camm")
    with pytest.raises(
        ParamsError, match=r"^cam\.options\.classifier\.map: expected a CAM method for CNNs; chefer need"
    ):
        build(map="chefer")
    with pytest.raises(ModelError, match=r"^cam\.options\.classifier\.encoder: expected an encoder"):
        build(encoder="resnet19")
