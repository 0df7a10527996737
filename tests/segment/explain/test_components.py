"""Principal components against numpy's singular value decomposition, and the colours made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wildseg.segment.explain.components import colours, principal_components


def features(channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Channels that spread by different amounts in mixed directions."""
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(height * width, channels)) * np.geomspace(5, 0.1, channels)
    mixed = cells @ np.linalg.qr(rng.normal(size=(channels, channels)))[0] + rng.normal(size=channels)
    return torch.from_numpy(mixed.T.reshape(channels, height, width).astype(np.float32))


@pytest.mark.parametrize(("channels", "height", "width"), [(8, 6, 9), (40, 4, 5), (20, 4, 5), (3, 7, 7)])
def test_scores_and_shares_are_those_of_the_singular_value_decomposition(
    channels: int, height: int, width: int
) -> None:
    given = features(channels, height, width)
    cells = given.double().numpy().reshape(channels, -1).T
    cells = cells - cells.mean(0)
    left, values, _ = np.linalg.svd(cells, full_matrices=False)
    expected = (left * values)[:, :3]
    for column in expected.T:
        if -column.min() > column.max():
            column *= -1
    scores, shares = principal_components(given)
    np.testing.assert_allclose(scores.numpy().reshape(3, -1).T, expected, atol=1e-8)
    np.testing.assert_allclose(shares.numpy(), (values**2 / (values**2).sum())[:3], atol=1e-12)


@pytest.mark.parametrize("channels", [8, 40])
def test_turning_all_signs_around_changes_no_score(channels: int) -> None:
    given = features(channels, 4, 5)
    torch.testing.assert_close(principal_components(-given)[0].abs(), principal_components(given)[0].abs())
    for score in principal_components(-given)[0]:
        assert score.max() > -score.min()


@pytest.mark.parametrize("shape", [(2, 5, 6), (1, 5, 6), (6, 1, 2), (4, 1, 1)])
def test_directions_that_do_not_exist_are_zero(shape: tuple[int, int, int]) -> None:
    scores, shares = principal_components(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    assert scores.shape == (3, *shape[1:])
    rank = min(shape[0], shape[1] * shape[2] - 1, 3)
    assert (scores[:rank].abs().amax((1, 2)) > 0.01).all()
    assert (scores[rank:] == 0).all()
    assert shares.sum().item() == pytest.approx(min(rank, 1))


@pytest.mark.parametrize("channels", [6, 50])
def test_the_rounding_of_single_precision_is_no_direction(channels: int) -> None:
    cells = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    scores, shares = principal_components(cells * torch.linspace(0.1, 0.7, channels)[:, None, None])
    assert shares[0].item() == pytest.approx(1)
    assert scores[0].abs().max() > 0.1
    assert (scores[1:] == 0).all()


@pytest.mark.parametrize("channels", [2, 50])
def test_a_layer_that_is_the_same_everywhere_is_grey(channels: int) -> None:
    scores, shares = principal_components(torch.full((channels, 4, 5), 0.1))
    assert (shares == 0).all()
    assert (colours(scores.numpy()) == 128).all()


def test_colours_are_stretched_between_percentiles_so_that_one_odd_cell_does_not_dim_the_rest() -> None:
    scores = np.zeros((3, 10, 100))
    scores[0] = np.linspace(0, 1, 1000).reshape(10, 100)
    scores[1] = 1000 * scores[0]
    scores[2] = scores[0]
    scores[2, 3, 3] = 1e6
    found = colours(scores)
    assert found.shape == (10, 100, 3)
    assert found.dtype == np.uint8
    assert (found[..., 0] == found[..., 1]).all()
    assert abs(int(found[5, 0, 0]) - 128) <= 2
    assert np.abs(found[..., 0].astype(int) - found[..., 2]).mean() < 1
    assert (found[0, :5, 0] == 0).all()
    assert (found[-1, -5:, 0] == 255).all()
