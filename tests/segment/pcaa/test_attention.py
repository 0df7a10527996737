"""The attention of PCAA against loops over images, bins, cells and classes, and its limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from wildseg.segment.pcaa.attention import GraphUnit, PartialAttention, join, local_centres, split

ROWS, COLUMNS = 2, 3


def attention(channels: int = 4, num_ids: int = 3, bins: tuple[int, int] = (ROWS, COLUMNS)) -> PartialAttention:
    torch.manual_seed(0)
    built = PartialAttention(channels, num_ids, bins).double().eval()
    built.output[1].running_mean.normal_()
    return built


def features(height: int = 4, width: int = 9, channels: int = 4) -> Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_cells_of_each_bin_are_those_of_its_rectangle_in_row_major_order() -> None:
    maps = torch.arange(4 * 9).reshape(1, 1, 4, 9)
    cells = split(maps, (ROWS, COLUMNS))
    assert cells.shape == (1, 6, 6, 1)
    assert cells[0, 0, :, 0].tolist() == [0, 1, 2, 9, 10, 11]
    assert cells[0, 4, :, 0].tolist() == [21, 22, 23, 30, 31, 32]  # second row, second column of bins


@pytest.mark.parametrize("bins", [(1, 1), (2, 3), (4, 9), (4, 1), (1, 9)])
def test_joining_what_was_split_is_the_identity(bins: tuple[int, int]) -> None:
    maps = features()
    assert torch.equal(join(split(maps, bins), bins, 9), maps)


def test_a_centre_by_hand() -> None:
    # One bin of two cells, one class: activations 0 and ln 3 give weights 1/4 and 3/4.
    activations = torch.tensor([0, math.log(3)], dtype=torch.float64).reshape(1, 1, 2, 1)
    cells = torch.tensor([1.0, 5.0], dtype=torch.float64).reshape(1, 1, 2, 1)
    score = activations.mean(2).sigmoid()
    assert activations.softmax(2).flatten().tolist() == pytest.approx([0.25, 0.75])
    assert activations.mean().item() == pytest.approx(0.549306, abs=1e-6)
    assert score.item() == pytest.approx(0.633975, abs=1e-6)
    assert local_centres(activations, torch.ones_like(score), cells).item() == pytest.approx(4)
    assert local_centres(activations, score, cells).item() == pytest.approx(2.535898, abs=1e-6)


def test_with_one_cell_per_bin_a_centre_is_its_feature_times_the_score() -> None:
    cells = split(features(), (4, 9))
    activations = torch.randn(2, 36, 1, 3, dtype=torch.float64)
    scores = activations.mean(2).sigmoid()
    torch.testing.assert_close(local_centres(activations, scores, cells), scores[..., None] * cells)


def test_a_constant_activation_averages_its_bin() -> None:
    cells = split(features(), (ROWS, COLUMNS))
    scores = torch.rand(2, 6, 3, dtype=torch.float64)
    centres = local_centres(torch.full((2, 6, 6, 3), 7.0, dtype=torch.float64), scores, cells)
    torch.testing.assert_close(centres, scores[..., None] * cells.mean(2, keepdim=True))


def test_a_score_of_zero_is_a_centre_of_zero() -> None:
    cells = split(features(), (ROWS, COLUMNS))
    assert not local_centres(torch.randn(2, 6, 6, 3).double(), torch.zeros(2, 6, 3).double(), cells).any()


def test_a_graph_unit_without_interaction_and_with_unit_weights_changes_no_positive_centre() -> None:
    unit = GraphUnit(6, 4).double()
    nn.init.zeros_(unit.between_bins.weight)
    nn.init.eye_(unit.channels.weight)
    centres = torch.rand(2, 6, 3, 4, dtype=torch.float64)
    assert torch.equal(unit(centres), centres)


def test_with_one_bin_the_graph_unit_scales_and_global_centres_are_local_ones_up_to_two_numbers() -> None:
    module = attention(bins=(1, 1))
    centres = torch.rand(2, 1, 3, 4, dtype=torch.float64)
    factor = 1 + module.graph.between_bins.weight.item()
    expected = module.graph.channels(torch.relu(factor * centres))
    torch.testing.assert_close(module.graph(centres), expected)
    fused = module.over_bins(expected)
    torch.testing.assert_close(fused, module.over_bins.weight.item() * expected + module.over_bins.bias.item())


def test_an_output_norm_without_scale_leaves_the_identity_plus_its_rectified_shift() -> None:
    module, maps = attention(), features()
    nn.init.zeros_(module.output[1].weight)
    module.output[1].bias.data = torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
    shift = torch.tensor([0.5, 0, 0, 2.0], dtype=torch.float64).reshape(1, 4, 1, 1)
    torch.testing.assert_close(module(maps)[0], maps + shift)


def test_equal_values_give_an_output_that_no_query_changes() -> None:
    module, maps = attention(), features()
    nn.init.zeros_(module.value.weight)  # the value of every class is the bias
    before = module(maps)[0]
    nn.init.normal_(module.query.weight, std=5)
    torch.testing.assert_close(module(maps)[0], before)


def test_the_attention_equals_loops_over_images_bins_cells_and_classes() -> None:
    module, maps = attention(), features()
    found, scores = module(maps)
    expected, expected_scores = loops(module, maps)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-10, atol=1e-10)


def test_gradients_are_those_of_finite_differences() -> None:
    module = attention()
    maps = features(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: module(x), (maps,), eps=1e-6, atol=1e-5)


def test_channels_in_front_of_the_activation_map_are_dropped_in_training_alone() -> None:
    module, maps = attention(), features()
    torch.testing.assert_close(module(maps)[1], module(maps)[1])
    module.train()
    assert not torch.equal(module(maps)[1], module(maps)[1])


@torch.no_grad()
def loops(module: PartialAttention, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The attention of one cell after the other, from the definition; weights as numbers."""
    batch, channels, height, width = maps.shape
    half, number = channels // 2, ROWS * COLUMNS
    num_ids = module.activation.out_channels
    output, scores = torch.zeros_like(maps), torch.zeros(batch, number, num_ids, dtype=maps.dtype)
    cam_weight, cam_bias = module.activation.weight[:, :, 0, 0], module.activation.bias
    between, mixing = module.graph.between_bins.weight[:, :, 0, 0], module.graph.channels.weight
    phi, phi0 = module.over_bins.weight[0, :, 0, 0], module.over_bins.bias[0]
    places = {
        row * COLUMNS + column: [
            (y, x)
            for y in range(row * height // ROWS, (row + 1) * height // ROWS)
            for x in range(column * width // COLUMNS, (column + 1) * width // COLUMNS)
        ]
        for row in range(ROWS)
        for column in range(COLUMNS)
    }
    for image in range(batch):
        centres = torch.zeros(number, num_ids, channels, dtype=maps.dtype)
        for index, cells in places.items():
            for k in range(num_ids):
                cam = [float(cam_weight[k] @ maps[image, :, y, x] + cam_bias[k]) for y, x in cells]
                scores[image, index, k] = sum(cam) / len(cam)
                score = 1 / (1 + math.exp(-sum(cam) / len(cam)))
                mass = sum(math.exp(value) for value in cam)
                for value, (y, x) in zip(cam, cells, strict=True):
                    centres[index, k] += score * math.exp(value) / mass * maps[image, :, y, x]
        local = torch.zeros_like(centres)
        for index in places:
            for k in range(num_ids):
                mixed = centres[index, k] + sum(between[index, other] * centres[other, k] for other in places)
                local[index, k] = mixing @ mixed.clamp(min=0)
        whole = [(sum(phi[b] * local[b, k] for b in places) + phi0).clamp(min=0) for k in range(num_ids)]
        values = [module.value.weight @ centre + module.value.bias for centre in whole]
        for index, cells in places.items():
            keys = [module.key.weight @ local[index, k] + module.key.bias for k in range(num_ids)]
            for y, x in cells:
                query = module.query.weight @ maps[image, :, y, x] + module.query.bias
                products = [math.exp(float(query @ key)) for key in keys]  # not divided by sqrt(D / 2)
                taken = torch.zeros(half, dtype=maps.dtype)
                for product, value in zip(products, values, strict=True):
                    taken += product / sum(products) * value
                norm = module.output[1]
                raw = module.output[0].weight[:, :, 0, 0] @ taken
                normed = (raw - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
                output[image, :, y, x] = maps[image, :, y, x] + normed.clamp(min=0)
    return output, scores
