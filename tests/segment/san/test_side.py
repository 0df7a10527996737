"""The side adapter block by block, its positions and fusions, and its heads as plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor
from torch.nn import functional

from wildseg.segment.san.heads import MaskHeads, Mlp
from wildseg.segment.san.side import Fusion, SideAdapter, SideTokens


def small(depth: int = 3, widths: tuple[int, ...] = (6, 6)) -> SideAdapter:
    torch.manual_seed(0)
    return SideAdapter(widths, 5, 12, depth, 3).eval()


def encoder_layer(block: torch.nn.Module) -> torch.nn.TransformerEncoderLayer:
    """Return torch's own layer with the weights of a block of the side adapter."""
    layer = torch.nn.TransformerEncoderLayer(12, 3, 48, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True).eval()
    names = {
        "self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear1.": "mlp.fc1.",
        "linear2.": "mlp.fc2.", "norm1.": "norm1.", "norm2.": "norm2.",
    }  # fmt: skip
    state = block.state_dict()
    layer.load_state_dict({own + end: state[name + end] for own, name in names.items() for end in ("weight", "bias")})
    return layer


def test_it_is_a_transformer_with_positions_in_front_of_every_block_and_fusions_behind_the_first_ones() -> None:
    side, images = small(), torch.randn(2, 3, 32, 48)
    features = [torch.randn(2, 6, 3, 4), torch.randn(2, 6, 3, 4)]
    found = side.after(images, features, (2, 3))
    positions = torch.cat([side.query_positions, side.grid_positions((2, 3))])
    patches = torch.stack(
        [
            torch.einsum("bcij,dcij->bd", images[:, :, y : y + 16, x : x + 16], side.patches.weight)
            for y in (0, 16)
            for x in (0, 16, 32)
        ],
        1,
    )
    tokens = torch.cat([side.queries.expand(2, -1, -1), patches + side.patches.bias], 1)
    added = [side.fusions[place](features[place], (2, 3)).flatten(2).transpose(1, 2) for place in (0, 1)]
    tokens[:, 5:] += added[0]
    for number in (1, 2, 3):
        tokens = encoder_layer(side.blocks[number - 1])(tokens + positions)
        if number == 1:
            tokens[:, 5:] += added[1]
        if number > 1:
            queries, pixels = found[number - 2]
            torch.testing.assert_close(queries, tokens[:, :5], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(pixels.flatten(2).transpose(1, 2), tokens[:, 5:], atol=1e-5, rtol=1e-5)
    assert len(found) == 2
    assert found[1].pixels.shape == (2, 12, 2, 3)
    assert all(torch.equal(*pair) for pair in zip(found[1], side(images, features), strict=True))


def test_blocks_behind_the_last_output_are_not_run() -> None:
    side = small()
    features = [torch.randn(1, 6, 2, 2)] * 2
    expected = side.after(torch.ones(1, 3, 32, 32), features, (2,))[0].queries
    torch.nn.init.constant_(side.blocks[2].mlp.fc2.bias, torch.nan)
    torch.testing.assert_close(side.after(torch.ones(1, 3, 32, 32), features, (2,))[0].queries, expected)


def test_the_stored_grid_of_positions_is_taken_as_it_is_and_others_are_resampled() -> None:
    side = small()
    assert side.grid_positions((40, 40)) is side.positions
    other = side.grid_positions((20, 60)).reshape(20, 60, 12)
    cells = side.positions.reshape(1, 40, 40, 12).permute(0, 3, 1, 2)
    expected = functional.interpolate(cells, (20, 60), mode="bicubic")[0].permute(1, 2, 0)
    torch.testing.assert_close(other, expected)
    ramp = torch.arange(40.0)[:, None].expand(40, 40).flatten()
    side.positions.data[:, 0] = ramp
    rows = side.grid_positions((20, 20)).reshape(20, 20, 12)[2:-2, 3, 0]
    torch.testing.assert_close(rows, torch.arange(0.5, 40, 2)[2:-2])  # half-pixel centres


def test_a_fusion_normalises_the_channels_of_each_cell_projects_and_resizes() -> None:
    torch.manual_seed(0)
    fusion, features = Fusion(6, 4), torch.randn(1, 6, 2, 2)
    with torch.no_grad():
        fusion.norm.weight.normal_()
        fusion.norm.bias.normal_()
        found = fusion(features, (4, 4))[0].numpy()
    cells = features[0].numpy().astype(np.float64)
    projected = np.zeros((4, 2, 2))
    for row in range(2):
        for column in range(2):
            cell = cells[:, row, column]
            normed = (cell - cell.mean()) / np.sqrt(cell.var() + 1e-6)
            normed = normed * fusion.norm.weight.detach().numpy() + fusion.norm.bias.detach().numpy()
            projected[:, row, column] = fusion.project.weight.detach().numpy()[:, :, 0, 0] @ normed
    # Twice the size with half-pixel centres: scipy's grid mode of order 1.
    expected = [scipy.ndimage.zoom(one, 2, order=1, mode="nearest", grid_mode=True) for one in projected]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)
    assert not fusion.project.bias.any()


def reference_mlp(mlp: Mlp, vector: Tensor) -> Tensor:
    first, second, third = mlp.layers
    weights = [(layer.weight.flatten(1), layer.bias) for layer in (first, second, third)]
    for weight, bias in weights[:-1]:
        vector = (weight @ vector + bias).clamp(min=0)
    return weights[-1][0] @ vector + weights[-1][1]


def test_masks_and_biases_are_inner_products_of_queries_and_pixels_head_by_head() -> None:
    torch.manual_seed(0)
    heads = MaskHeads(12, 2)
    tokens = SideTokens(torch.randn(1, 3, 12), torch.randn(1, 12, 2, 2))
    masks, biases = heads(tokens)
    assert masks.shape == (1, 3, 2, 2)
    assert biases.shape == (1, 2, 3, 2, 2)
    for query in range(3):
        for row, column in np.ndindex(2, 2):
            vector = reference_mlp(heads.query, tokens.queries[0, query])
            cell = tokens.pixels[0, :, row, column]
            torch.testing.assert_close(masks[0, query, row, column], vector @ reference_mlp(heads.pixel, cell))
            space = reference_mlp(heads.bias, cell)
            for head in range(2):
                product = vector @ space[256 * head : 256 * (head + 1)]
                expected = heads.scale.weight[0, 0] * product + heads.scale.bias[0]
                torch.testing.assert_close(biases[0, head, query, row, column], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("width", "heads", "millions"), [(768, 12, 8.37), (1024, 16, 9.32)])
def test_sizes_are_the_published_ones(width: int, heads: int, millions: float) -> None:
    side, masks = SideAdapter([width] * 4, 100, 240, 8, 6), MaskHeads(240, heads)
    grid, features = {768: (14 * 14 + 1, 512), 1024: (24 * 24 + 1, 768)}[width]
    # With CLIP's position embedding and the embedding of no object, which are trained as well.
    own = sum(parameter.numel() for network in (side, masks) for parameter in network.parameters())
    assert (own + grid * width + features) / 1e6 == pytest.approx(millions, abs=0.005)
