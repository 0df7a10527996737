"""Pixel correlation against plain loops, and where its result is known without any."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wildseg.cam.networks.pcm import EPS, PixelCorrelation, propagate


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loops(values: Tensor, features: Tensor) -> Tensor:
    """The published formula for one image, (D, h, w) and (E, h, w), cell by cell."""
    flat, f = values.flatten(1).double(), features.flatten(1).double()
    cells = f.shape[1]
    unit = [f[:, i] / (sum(float(x) ** 2 for x in f[:, i]) ** 0.5 + 1e-5) for i in range(cells)]
    result = torch.zeros_like(flat)
    for j in range(cells):
        column = [max(0.0, float((unit[i] * unit[j]).sum())) for i in range(cells)]
        for i in range(cells):
            result[:, j] += flat[:, i] * column[i] / (sum(column) + 1e-5)
    return result.view(values.shape).float()


def test_cells_get_the_values_of_cells_like_them_as_plain_loops_say() -> None:
    values, features = drawn(2, 3, 4, 5), drawn(2, 6, 4, 5, seed=1)
    found = propagate(values, features)
    for number in range(2):
        torch.testing.assert_close(found[number], loops(values[number], features[number]), rtol=1e-5, atol=1e-6)


def test_identical_features_everywhere_give_the_spatial_mean() -> None:
    values = drawn(2, 5, 3, 4)
    features = drawn(2, 6, 1, 1, seed=1).expand(2, 6, 3, 4)
    length = features[:, :, 0, 0].norm(dim=1)[:, None, None, None]
    cosine = (length / (length + EPS)) ** 2  # not quite 1
    wanted = values.mean((2, 3), keepdim=True) * (12 * cosine / (12 * cosine + EPS))
    torch.testing.assert_close(propagate(values, features), wanted.expand_as(values), rtol=1e-5, atol=1e-6)


def test_columns_of_the_affinity_sum_to_about_one() -> None:
    constant = torch.full((1, 1, 4, 5), 3.0)
    torch.testing.assert_close(propagate(constant, drawn(1, 6, 4, 5)), constant, rtol=2e-5, atol=0)


def test_orthogonal_features_leave_values_as_they_are() -> None:
    values = drawn(1, 3, 2, 3)
    features = torch.eye(6).reshape(1, 6, 2, 3) * 5
    torch.testing.assert_close(propagate(values, features), values, rtol=3e-5, atol=1e-6)


def test_opposite_features_do_not_repel() -> None:
    features = torch.tensor([[[[1.0, -1.0]]]])
    torch.testing.assert_close(propagate(torch.tensor([[[[2.0, 7.0]]]]), features), torch.tensor([[[[2.0, 7.0]]]]),
                               rtol=3e-5, atol=0)  # fmt: skip


@pytest.mark.parametrize("elements", [1, 3 * 40, 7 * 40])
def test_the_result_does_not_depend_on_how_many_affinities_are_held_at_a_time(elements: int) -> None:
    values, features = drawn(2, 3, 4, 5), drawn(2, 6, 4, 5, seed=1)
    torch.testing.assert_close(propagate(values, features, elements), propagate(values, features))


# The module ----------------------------------------------------------------------------------------------------------


def test_published_widths_follow_from_those_of_resnet38() -> None:
    module = PixelCorrelation((512, 1024))
    shapes = [tuple(conv.weight.shape) for conv in (*module.reduce, module.mix)]
    assert shapes == [(64, 512, 1, 1), (128, 1024, 1, 1), (192, 195, 1, 1)]
    assert all(conv.bias is None for conv in (*module.reduce, module.mix))
    # Kaiming normal by the channels in, Xavier uniform of gain 4.
    assert float(module.reduce[0].weight.detach().std()) == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    bound = 4 * (6 / (195 + 192)) ** 0.5
    assert float(module.mix.weight.detach().abs().max()) == pytest.approx(bound, rel=0.01)
    assert float(module.mix.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.02)


def test_features_are_a_mix_of_the_resized_image_and_both_reductions() -> None:
    torch.manual_seed(0)
    module = PixelCorrelation((16, 24))
    values, pixels = drawn(1, 3, 4, 5), drawn(1, 3, 16, 20, seed=1)
    first, second = drawn(1, 16, 8, 10, seed=2), drawn(1, 24, 4, 5, seed=3)
    resize = nn.UpsamplingBilinear2d((4, 5))  # aligned at the corners
    small = resize(nn.functional.conv2d(first, module.reduce[0].weight))
    parts = [resize(pixels), small, nn.functional.conv2d(second, module.reduce[1].weight)]
    mixed = nn.functional.conv2d(torch.cat(parts, 1), module.mix.weight)
    torch.testing.assert_close(module(values, pixels, (first, second))[0], loops(values[0], mixed[0]),
                               rtol=1e-5, atol=1e-6)  # fmt: skip


def test_earlier_features_get_no_gradient_and_all_layers_do() -> None:
    module = PixelCorrelation((16, 24))
    values = drawn(1, 3, 4, 5).requires_grad_()
    features = [drawn(1, 16, 4, 5, seed=1).requires_grad_(), drawn(1, 24, 4, 5, seed=2).requires_grad_()]
    module(values, drawn(1, 3, 16, 20), features).square().sum().backward()
    assert values.grad is not None
    assert [feature.grad for feature in features] == [None, None]
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in module.parameters())


def test_in_mixed_precision_sums_are_single_precision() -> None:
    torch.manual_seed(0)
    module = PixelCorrelation((16, 24))
    constant = torch.full((1, 1, 40, 40), 3.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(constant, drawn(1, 3, 40, 40), (drawn(1, 16, 40, 40), drawn(1, 24, 40, 40)))
    torch.testing.assert_close(found, constant, rtol=1e-4, atol=0)
