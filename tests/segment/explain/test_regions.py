"""Seg-Grad-CAM and its HiRes variant against what can be worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.segment.explain.networks import Curved, Pixelwise, picture, seeded
from wildseg.cam.maps import normalise
from wildseg.cam.record import record_module
from wildseg.cam.trace import Trace
from wildseg.core import lookup
from wildseg.core.errors import WildsegError
from wildseg.segment.explain import regions
from wildseg.segment.explain.evidence import evidence_map, record
from wildseg.segment.explain.regions import RegionSum

SIZE = (12, 16)
CLASS = 2
LINEAR_METHODS = ("gradcam", "hirescam")


def method(name: str):  # noqa: ANN201
    return lookup.load("methods.cam", name)


def before_relu(trace: Trace, name: str) -> Tensor:
    """The map of a method before what speaks against the class is cut off: (1, h, w)."""
    gradients = trace.gradients()
    if name == "gradcam":
        gradients = gradients.mean((2, 3), keepdim=True)
    return (gradients * trace.activations).sum(1)


def some_region(seed: int = 0) -> Tensor:
    return (torch.rand(SIZE, generator=torch.Generator().manual_seed(seed)) > 0.6).float()


# M of all pixels, judged one by one --------------------------------------------------------------------------------


def test_the_gradient_of_all_pixels_judged_one_by_one_is_the_weight_of_the_class_everywhere() -> None:
    network = seeded(Pixelwise)
    trace = record(network, "features", picture(), torch.ones(SIZE), CLASS)
    weights = network.head.weight[CLASS, :, 0, 0].detach()
    torch.testing.assert_close(trace.gradients(), weights[None, :, None, None].expand(1, -1, *SIZE))


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "xgradcam"])
def test_then_every_method_is_cam_and_that_is_the_logit(name: str) -> None:
    network = seeded(Pixelwise)
    everywhere = RegionSum(network, torch.ones(SIZE))
    trace = record_module(
        everywhere, network.features, picture(), (CLASS,), head=network.head.weight[:, :, 0, 0].detach()
    )
    cam = method("cam").cam(trace)
    with torch.no_grad():
        torch.testing.assert_close(cam, network(picture())[:, CLASS].relu(), rtol=1e-4, atol=1e-5)
    # A channel that nearly sums to zero makes XGrad-CAM's quotient inexact in its last digits.
    torch.testing.assert_close(normalise(method(name).cam(trace)), normalise(cam), rtol=0, atol=2e-5)
    assert cam.std() > 0.1


# Any M -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LINEAR_METHODS)
def test_no_pixel_gives_a_map_of_zeros(name: str) -> None:
    trace = record(seeded(Curved), "features", picture(), torch.zeros(SIZE), CLASS)
    assert torch.equal(evidence_map(trace, method(name), SIZE), torch.zeros(SIZE))


@pytest.mark.parametrize("name", LINEAR_METHODS)
def test_maps_of_two_disjoint_sets_add_up_before_they_are_cut_off(name: str) -> None:
    network, region = seeded(Curved), some_region()
    left, right = region.clone(), region.clone()
    left[:, 8:], right[:, :8] = 0, 0
    whole, one, other = (
        before_relu(record(network, "features", picture(), part, CLASS), name) for part in (region, left, right)
    )
    torch.testing.assert_close(one + other, whole, rtol=1e-4, atol=1e-5)
    assert one.abs().max() > 1e-3
    assert other.abs().max() > 1e-3


def test_the_cut_off_map_is_what_the_sum_above_is_about() -> None:
    trace = record(seeded(Curved), "features", picture(), some_region(), CLASS)
    for name in LINEAR_METHODS:
        torch.testing.assert_close(method(name).cam(trace), before_relu(trace, name).relu())


@pytest.mark.parametrize("name", LINEAR_METHODS)
def test_a_soft_set_weighs_its_pixels(name: str) -> None:
    network, soft, weighed = seeded(Curved), torch.zeros(SIZE), torch.zeros(1, *SIZE)
    for x, y, weight in [(0, 0, 0.1), (5, 3, 0.9), (6, 3, 0.5), (15, 11, 1.0), (9, 7, 0.25)]:
        soft[y, x] = weight
        alone = torch.from_numpy(regions.pixel(SIZE, x, y))
        weighed += weight * before_relu(record(network, "features", picture(), alone, CLASS), name)
    found = before_relu(record(network, "features", picture(), soft, CLASS), name)
    torch.testing.assert_close(found, weighed, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", LINEAR_METHODS)
@pytest.mark.parametrize("factor", [0.5, 1 / 192, 1e-9])
def test_dividing_by_the_number_of_pixels_changes_no_map(name: str, factor: float) -> None:
    network, region = seeded(Curved), some_region()
    whole = evidence_map(record(network, "features", picture(), region, CLASS), method(name), SIZE)
    small = evidence_map(record(network, "features", picture(), factor * region, CLASS), method(name), SIZE)
    torch.testing.assert_close(small, whole, rtol=0, atol=1e-5)
    assert whole.max() == pytest.approx(1, abs=1e-5)


def test_the_gradient_is_that_of_finite_differences() -> None:
    network, region = seeded(Curved).double().eval(), some_region().double()
    with torch.no_grad():
        features = network.features(picture().double())
    trace = record_module(RegionSum(network, region), network.features, picture().double(), (CLASS,))
    found = trace.gradients()[0]

    def total(features: Tensor) -> float:
        with torch.no_grad():
            behind = network.head(network.behind(network.batch_norm(features)).relu())
        return float((behind[0, CLASS] * region).sum())

    step = 1e-6
    for channel, y, x in [(0, 0, 0), (1, 5, 7), (2, 11, 15), (3, 4, 0), (5, 8, 9)]:
        moved = torch.zeros_like(features)
        moved[0, channel, y, x] = step
        numeric = (total(features + moved) - total(features - moved)) / (2 * step)
        assert found[channel, y, x].item() == pytest.approx(numeric, abs=1e-6)


# One pixel ---------------------------------------------------------------------------------------------------------


def test_for_one_pixel_hirescam_stays_in_the_receptive_field_and_gradcam_does_not() -> None:
    x, y = 9, 5
    region = torch.from_numpy(regions.pixel(SIZE, x, y))
    trace = record(seeded(Curved), "features", picture(), region, CLASS)
    seen = torch.zeros(SIZE, dtype=torch.bool)
    seen[y - 2 : y + 3, x - 2 : x + 3] = True
    inside = before_relu(trace, "hirescam")[0]
    assert (inside[~seen] == 0).all()
    assert inside[seen].abs().max() > 0
    assert (before_relu(trace, "gradcam")[0][~seen] != 0).float().mean() > 0.9


# The network afterwards --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind_on_the_network(training: bool) -> None:
    network = seeded(Curved).train(training)
    network.dropout.train(not training)  # modes of parts, which one flag for all would lose
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    trace = record(network, "features", picture(), some_region(), CLASS)
    evidence_map(trace, method("gradcam"), SIZE)
    assert [module.training for module in network.modules()] == modes
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in network.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# Which pixels ------------------------------------------------------------------------------------------------------


def test_sets_of_pixels() -> None:
    assert regions.everywhere((2, 3)).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert regions.predicted_as(np.array([[1, 2], [2, 0]]), 2).tolist() == [[0, 1], [1, 0]]
    assert regions.pixel((2, 3), 2, 1).tolist() == [[0, 0, 0], [0, 0, 1]]
    assert regions.box((3, 4), 1, 0, 3, 2).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert regions.box((3, 4), 0, 0, 4, 3).all()


@pytest.mark.parametrize(("x", "y"), [(-1, 0), (0, -1), (4, 0), (0, 3)])
def test_a_pixel_outside_the_frame_is_refused(x: int, y: int) -> None:
    with pytest.raises(WildsegError, match=f"x from 0 to 3 and y from 0 to 2 in a frame of 4x3; found {x},{y}"):
        regions.pixel((3, 4), x, y)


@pytest.mark.parametrize("box", [(2, 0, 2, 3), (0, 2, 4, 2), (3, 0, 1, 3)])
def test_an_empty_box_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(WildsegError, match="expected x0,y0,x1,y1 with x0 < x1 and y0 < y1"):
        regions.box((3, 4), *box)


@pytest.mark.parametrize("box", [(-1, 0, 2, 2), (0, -1, 2, 2), (0, 0, 5, 2), (0, 0, 2, 4), (9, 9, 12, 12)])
def test_a_box_outside_the_frame_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(WildsegError, match="expected a box inside the frame, which is 0,0,4,3"):
        regions.box((3, 4), *box)
