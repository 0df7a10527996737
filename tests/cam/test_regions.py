"""Regions: clusters of like patches, the means over them, and the same regions on another grid."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.cam.regions import means, on_grid, partition, regions


def random(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def test_patches_of_three_kinds_are_three_regions_wherever_they_lie() -> None:
    kinds = np.array([0, 1, 2, 0, 2, 2, 1, 0, 0])
    features = np.eye(3)[kinds] * 5 + 0.01 * random(9, 3)
    found = partition(features, 3)
    for kind in range(3):
        assert len(set(found[kinds == kind])) == 1
    assert len(set(found)) == 3


def test_each_patch_is_in_the_cluster_whose_mean_is_nearest_to_it() -> None:
    features = random(60, 4)
    found = partition(features, 5)
    centred = features.astype(np.float64) - features.astype(np.float64).mean(0)
    points = [row / np.sqrt(sum(part * part for part in row)) for row in centred]
    centres = [np.mean([p for p, own in zip(points, found, strict=True) if own == k], 0) for k in range(5)]
    for point, own in zip(points, found, strict=True):
        assert own == min(range(5), key=lambda k, at=point: sum((at - centres[k]) ** 2))


def test_numbers_of_clusters_have_no_gap_and_the_same_features_have_the_same_ones() -> None:
    features = random(40, 6, seed=3)
    found = partition(features, 12)
    assert set(found) == set(range(found.max() + 1))
    assert found.max() < 12
    np.testing.assert_array_equal(partition(features.copy(), 12), found)


@pytest.mark.parametrize("clusters", [1, 7])
def test_patches_that_are_all_alike_are_one_region(clusters: int) -> None:
    assert partition(np.ones((5, 3)), clusters).tolist() == [0] * 5
    assert partition(np.ones((1, 3)), clusters).tolist() == [0]


def test_keys_are_unit_means_values_are_means_and_areas_are_shares() -> None:
    keys, values = random(12, 3), random(12, 2, seed=1)
    found = regions(keys, values, (3, 4), 3)
    labels = found.labels.ravel()
    assert found.labels.shape == (3, 4)
    for number in range(len(found.areas)):
        own = [patch for patch in range(12) if labels[patch] == number]
        key = sum(keys[patch] for patch in own) / len(own)
        np.testing.assert_allclose(found.keys[number], key / np.sqrt((key**2).sum()), rtol=1e-5)
        np.testing.assert_allclose(found.values[number], sum(values[patch] for patch in own) / len(own), rtol=1e-5)
        assert found.areas[number] == pytest.approx(len(own) / 12)
    assert found.areas.sum() == pytest.approx(1)


def test_means_of_a_cluster_are_those_of_its_rows() -> None:
    assert means(np.array([[1.0, 2], [3, 4], [5, 7]]), np.array([0, 1, 0])).tolist() == [[3, 4.5], [3, 4]]


def test_a_cell_of_another_grid_has_the_region_of_the_patch_below_its_centre() -> None:
    labels = np.array([[0, 1], [2, 3]])
    assert on_grid(labels, (2, 2)).tolist() == labels.tolist()
    assert on_grid(labels, (4, 4)).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert on_grid(labels, (3, 1)).tolist() == [[1], [3], [3]]  # centres on the line between two have the latter
