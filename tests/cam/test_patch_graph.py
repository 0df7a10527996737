"""Graphs of patches: published numbers, identities, and loops written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wildseg.cam import patch_graph
from wildseg.cam.patch_graph import label_propagation, neighbour_graph, normalised, places, similar_mean

# Three patches with cosines .9, .2 and .3.
COSINES = np.array([[1, 0.9, 0.2], [0.9, 1, 0.3], [0.2, 0.3, 1]])
GOLDEN = torch.from_numpy(np.linalg.cholesky(COSINES))
LABELS = np.array([[1.0, 0.4, 0.0], [0.0, 0.6, 1.0]])  # (K, N)


def features(number: int = 12, width: int = 5) -> torch.Tensor:
    return torch.randn(number, width, generator=torch.Generator().manual_seed(0))


def test_golden_three_patches() -> None:
    weights = neighbour_graph(GOLDEN, np.zeros((3, 2)), neighbours=2, gamma=3, sigma=0)
    graph = normalised(weights)
    found = label_propagation(LABELS, graph, alpha=0.95, steps=10)
    np.testing.assert_allclose(weights.toarray(), [[0, 1.458, 0], [1.458, 0, 0.027], [0, 0.027, 0]], atol=1e-6)
    assert graph.toarray()[0, 1] == pytest.approx(0.990867, abs=1e-6)
    assert graph.toarray()[1, 2] == pytest.approx(0.134840, abs=1e-5)
    expected = [[13.949954, 7.029499], [13.757169, 7.467672], [1.762266, 1.956594]]
    np.testing.assert_allclose(found.T, expected, atol=1e-4)
    assert found.argmax(0).tolist() == [0, 0, 1]


def by_hand(features: torch.Tensor, where: np.ndarray, neighbours: int, gamma: float, sigma: float) -> np.ndarray:
    unit = F.normalize(features.double(), dim=1).numpy()
    directed = np.zeros((len(unit), len(unit)))
    for i, own in enumerate(unit):
        cosines = [own @ other for other in unit]
        for j in sorted(range(len(unit)), key=lambda j: -cosines[j])[:neighbours]:
            if i != j:
                distance = np.hypot(*(where[i] - where[j]))
                directed[i, j] = max(cosines[j], 0) ** gamma * np.exp(-sigma * distance)
    return directed + directed.T


@pytest.mark.parametrize("block", [2**22, 30])
def test_the_graph_is_that_of_loops_over_patches(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_graph, "BLOCK", block)
    where = places((3, 4), (48, 64))
    found = neighbour_graph(features(), where, neighbours=5, gamma=2, sigma=0.01).toarray()
    np.testing.assert_allclose(found, by_hand(features(), where, 5, 2, 0.01), atol=1e-6)
    everyone = neighbour_graph(features(), where, neighbours=400, gamma=2, sigma=0.01).toarray()
    np.testing.assert_allclose(everyone, by_hand(features(), where, 12, 2, 0.01), atol=1e-6)


def test_the_solution_is_that_of_a_direct_solver() -> None:
    graph = normalised(neighbour_graph(features(), np.zeros((12, 2)), 12, 3, 0))
    maps = np.random.default_rng(0).random((4, 12))
    expected = np.linalg.solve(np.eye(12) - 0.8 * graph.toarray(), maps.T).T
    np.testing.assert_allclose(label_propagation(maps, graph, 0.8, 100), expected, atol=1e-5)
    assert abs(label_propagation(maps, graph, 0.8, 10) - expected).max() < 0.01 * expected.max()


def test_without_spreading_nothing_changes_and_maps_scale() -> None:
    graph = normalised(neighbour_graph(features(), np.zeros((12, 2)), 12, 3, 0))
    maps = np.random.default_rng(0).random((2, 12))
    np.testing.assert_allclose(label_propagation(maps, graph, 0, 10), maps)
    found = label_propagation(maps, graph, 0.8, 10)
    np.testing.assert_allclose(label_propagation(7 * maps, graph, 0.8, 10), 7 * found)


def test_the_order_of_patches_does_not_matter() -> None:
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    where, maps = places((3, 4), (48, 64)), np.random.default_rng(0).random((2, 12))
    graphs = (
        normalised(neighbour_graph(f, w, 6, 3, 0.01))
        for f, w in ((features(), where), (features()[order], where[order.numpy()]))
    )
    one, other = (label_propagation(m, g, 0.8, 50) for m, g in zip((maps, maps[:, order.numpy()]), graphs, strict=True))
    np.testing.assert_allclose(one[:, order.numpy()], other, atol=1e-6)


def test_a_patch_without_neighbours_keeps_its_value() -> None:
    apart = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    graph = normalised(neighbour_graph(apart, np.zeros((3, 2)), 3, 3, 0))
    np.testing.assert_allclose(label_propagation(LABELS, graph, 0.95, 10), LABELS)


def test_places_are_the_centres_of_patches() -> None:
    found = places((2, 3), (32, 24))
    assert found.tolist() == [[8, 4], [8, 12], [8, 20], [24, 4], [24, 12], [24, 20]]


@pytest.mark.parametrize("block", [2**22, 30])
def test_the_mean_over_similar_patches_is_that_of_loops(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_graph, "BLOCK", block)
    values, maps = features(), torch.rand(2, 12, generator=torch.Generator().manual_seed(1))
    centred = [row - sum(values) / 12 for row in values]
    expected = torch.zeros(2, 12)
    for i, own in enumerate(centred):
        weights = [max(float(F.cosine_similarity(own, other, dim=0)), 0) for other in centred]
        weights = [weight if weight >= 0.4 else 0 for weight in weights]
        expected[:, i] = sum(w * maps[:, j] for j, w in enumerate(weights)) / sum(weights)  # type: ignore[assignment]
    torch.testing.assert_close(similar_mean(maps, values, 0.4).float(), expected)


def test_identical_patches_keep_their_values() -> None:
    maps = torch.rand(2, 12)
    torch.testing.assert_close(similar_mean(maps, torch.ones(12, 5), 0.4), maps.double())


def test_two_groups_of_patches_get_their_means() -> None:
    groups = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    found = similar_mean(torch.tensor([[1.0, 0.5, 0.0, 0.2, 0.2, 0.8]]), groups, 0.4)
    torch.testing.assert_close(found[0], torch.tensor([0.5] * 3 + [0.4] * 3, dtype=torch.float64))
