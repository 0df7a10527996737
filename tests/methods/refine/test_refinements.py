"""What holds for every refinement, and what each adds: the published affinity, graphs, pixels, and nothing at all."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tests.cam.configs import by_caa, caa_params, cam_config
from tests.encoders.models import noise
from wildseg.cam import affinity, patch_graph, pixel_adaptive, propagation
from wildseg.cam.engine import maps_of
from wildseg.cam.maps import normalise
from wildseg.cam.pixel_grid import on_pixels
from wildseg.cam.refinement import Refinement, refine_frame
from wildseg.cam.trace import LastAttention, Trace
from wildseg.core import lookup
from wildseg.core.errors import ModelError
from wildseg.methods.cam import eigencam
from wildseg.methods.refine import features, lposs, none, pamr, propagate

REFINEMENTS = lookup.available("methods.refine")
OF_FRAMES = [name for name in REFINEMENTS if lookup.needs("methods.refine", name) == {"image"}]
OF_REGIONS = [name for name in REFINEMENTS if "regions" in lookup.needs("methods.refine", name)]
OF_PASSES = [name for name in REFINEMENTS if name not in [*OF_FRAMES, *OF_REGIONS]]
GRID = (3, 4)


def trace() -> Trace:
    """A recorded pass over 3 x 4 patches, with attention whose rows sum to 1."""
    generator = torch.Generator().manual_seed(0)
    attention = torch.randn(13, 13, generator=generator).softmax(-1)
    activations = torch.rand(1, 5, *GRID, generator=generator)
    values = torch.randn(2, 12, 4, generator=generator)
    last = LastAttention(GRID, lambda: values, *[lambda *_: values] * 3, (8, 8))  # type: ignore[arg-type] # not called
    recorded = {"size": (24, 32), "mean_attention": attention, "last": last}
    return Trace(activations, (0, 2), 3, lambda *_: activations, **recorded)  # type: ignore[arg-type]


def maps() -> torch.Tensor:
    """Two maps (2, 3, 4) from 0 to 1."""
    return normalise(torch.rand(2, *GRID, generator=torch.Generator().manual_seed(1)))


def refinement(name: str) -> Refinement:
    """A refinement with the options that params.yaml ships, if it has any."""
    return Refinement(lookup.load("methods.refine", name), {"caa": caa_params()}.get(name))


def test_all_kinds_exist() -> None:
    assert OF_FRAMES == ["pamr", "propagate"]
    assert OF_REGIONS == ["memory"]
    assert OF_PASSES == ["caa", "features", "lposs", "none"]


@pytest.mark.parametrize("name", OF_PASSES)
def test_refined_maps_keep_shape_and_type_and_lie_between_0_and_1(name: str) -> None:
    refined = refinement(name).refine(maps(), trace())
    assert (refined.shape, refined.dtype) == (maps().shape, maps().dtype)
    assert refined.min() >= 0
    assert refined.max() <= 1


@pytest.mark.parametrize("name", REFINEMENTS)
def test_what_must_be_recorded_is_read_without_an_import(name: str) -> None:
    assert lookup.needs("methods.refine", name) == lookup.load("methods.refine", name).NEEDS


@pytest.mark.parametrize("name", OF_PASSES)
def test_no_class_at_all_is_no_map_at_all(name: str) -> None:
    assert refinement(name).refine(maps()[:0], trace()).shape == (0, *GRID)


def test_none_changes_no_bit_and_needs_no_attention() -> None:
    config = cam_config(eigencam, refine=Refinement(none))
    assert config.record_config == cam_config(eigencam).record_config
    assert maps_of(trace(), config).equal(maps_of(trace(), cam_config(eigencam)))


# Of passes -----------------------------------------------------------------------------------------------------------


def test_caa_is_the_affinity_with_its_options() -> None:
    options = {"sinkhorn": 2, "power": 1, "box": 0.3}
    found = by_caa(**options).refine(maps(), trace())
    attention = trace().mean_attention
    assert attention is not None
    expected = normalise(affinity.refine(maps(), attention, caa_params(**options))).float()
    torch.testing.assert_close(found, expected)


def test_caa_has_the_blocks_recorded_that_its_options_name() -> None:
    averaged = cam_config(eigencam, refine=by_caa(layers=2, skip_last=1)).record_config.averaged
    assert averaged is not None
    assert list(averaged(12)) == [9, 10]


def test_caa_of_a_network_without_attention_is_an_error() -> None:
    with pytest.raises(ModelError, match="cam.refine: caa spreads maps along attention; this network has none"):
        by_caa().refine(maps(), replace(trace(), mean_attention=None))


def propagated(alpha: float, gamma: float, sigma: float, neighbours: int = 12) -> torch.Tensor:
    """Maps along the graph of the values of `trace`, by a direct solver."""
    last = trace().last
    assert last is not None
    values = last.values().transpose(0, 1).flatten(1)
    places = np.array([(8 * row + 4, 8 * column + 4) for row in range(3) for column in range(4)])
    weights = patch_graph.neighbour_graph(values, places, neighbours, gamma, sigma)
    graph = patch_graph.normalised(weights).toarray()
    solved = np.linalg.solve(np.eye(12) - alpha * graph, maps().flatten(1).double().numpy().T)
    return normalise(torch.from_numpy(solved.T).unflatten(1, GRID))


@pytest.mark.parametrize(
    ("options", "constants"),
    [
        ({}, (0.8, 6, 0.03)),
        ({"constants": "published"}, (0.95, 3, 0.01)),
        ({"constants": "published", "alpha": 0.5, "neighbours": 4}, (0.5, 3, 0.01, 4)),
    ],
)
def test_lposs_solves_the_system_of_its_constants(options: dict[str, Any], constants: tuple[float, ...]) -> None:
    found = Refinement(lposs, options={"steps": 50, **options}).refine(maps(), trace())
    torch.testing.assert_close(found.double(), propagated(*constants), atol=1e-4, rtol=0)  # type: ignore[arg-type]


def test_lposs_of_a_network_without_attention_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"cam\.refine: lposs compares values of the last attention; this network has"):
        Refinement(lposs).refine(maps(), replace(trace(), last=None))


def test_features_takes_the_means_over_similar_activations_as_often_as_its_power() -> None:
    rows = trace().activations[0].flatten(1).T
    once = patch_graph.similar_mean(maps().flatten(1), rows, 0.2)
    twice = patch_graph.similar_mean(once, rows, 0.2)
    found = Refinement(features, options={"threshold": 0.2, "power": 2}).refine(maps(), trace())
    torch.testing.assert_close(found, normalise(twice.unflatten(1, GRID)).float())


# Of frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_FRAMES)
def test_maps_of_a_frame_become_those_of_pixels_with_the_same_maximum(name: str) -> None:
    before = maps().numpy() * np.array([1, 0.6], np.float32)[:, None, None]
    found = refinement(name).refine_frame(before, noise((24, 32)))
    assert (found.shape, found.dtype) == ((2, 24, 32), np.float32)
    assert found.min() >= 0
    np.testing.assert_allclose(found.max((1, 2)), before.max((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("name", OF_FRAMES)
def test_a_map_that_shows_nothing_stays_so(name: str) -> None:
    found = refinement(name).refine_frame(np.zeros((2, 3, 4), np.float32), noise((24, 32)))
    assert not found.any()


@pytest.mark.parametrize("name", OF_FRAMES)
@pytest.mark.parametrize("size", [(3, 5), (1, 1), (1, 40)])
def test_a_frame_may_be_smaller_than_a_patch(name: str, size: tuple[int, int]) -> None:
    found = refinement(name).refine_frame(np.ones((1, 1, 1), np.float32), noise(size))
    np.testing.assert_allclose(found, np.ones((1, *size)), rtol=1e-5)


def test_propagate_is_the_solution_on_the_grid_of_its_side() -> None:
    fine, pixels = on_pixels(maps().numpy(), noise((60, 80)), 30)
    expected = np.maximum(propagation.propagate(fine, propagation.luma(pixels), 3, 2, 7), 0)
    expected *= maps().numpy().max((1, 2), keepdims=True) / expected.max((1, 2), keepdims=True)
    options = {"kappa": 3.0, "tau": 2.0, "steps": 7, "side": 30}
    found = Refinement(propagate, options=options).refine_frame(maps().numpy(), noise((60, 80)))
    assert found.shape == (2, 30, 40)
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-6)


def test_pamr_is_the_average_on_the_grid_of_its_side() -> None:
    fine, pixels = on_pixels(maps().numpy(), noise((60, 80)), 30)
    expected = pixel_adaptive.refine(fine, pixels, 3, (1, 4))
    expected *= maps().numpy().max((1, 2), keepdims=True) / expected.max((1, 2), keepdims=True)
    options = {"steps": 3, "dilations": (1, 4), "side": 30}
    found = Refinement(pamr, options=options).refine_frame(maps().numpy(), noise((60, 80)))
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-6)


def test_refinements_of_a_frame_follow_each_other_in_their_order() -> None:
    image, chosen = noise((24, 32)), (Refinement(pamr), Refinement(none), Refinement(propagate))
    found = refine_frame(maps().numpy(), image, chosen)
    first = Refinement(pamr).refine_frame(maps().numpy(), image)
    np.testing.assert_array_equal(found, Refinement(propagate).refine_frame(first, image))
    other = refine_frame(maps().numpy(), image, chosen[::-1])
    assert abs(found - other).max() > 0.01


@pytest.mark.parametrize("modules", [(), (none, lposs), (propagate, pamr)])
def test_a_frame_without_a_class_has_no_maps(modules: tuple[ModuleType, ...]) -> None:
    empty = np.zeros((0, 3, 4), np.float32)
    assert refine_frame(empty, noise((24, 32)), [Refinement(one) for one in modules]) is empty
