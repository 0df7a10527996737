"""What holds for every refinement, and what each adds: the published affinity, and nothing at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.cam.configs import by_caa, caa_params, cam_config
from wildseg.cam import affinity
from wildseg.cam.engine import maps_of
from wildseg.cam.maps import normalise
from wildseg.cam.refinement import Refinement
from wildseg.cam.trace import Trace
from wildseg.core import lookup
from wildseg.core.errors import ModelError
from wildseg.methods.cam import eigencam
from wildseg.methods.refine import none

REFINEMENTS = lookup.available("methods.refine")
GRID = (3, 4)


def trace() -> Trace:
    """A recorded pass over 3 x 4 patches, with attention whose rows sum to 1."""
    generator = torch.Generator().manual_seed(0)
    attention = torch.randn(13, 13, generator=generator).softmax(-1)
    activations = torch.rand(1, 5, *GRID, generator=generator)
    return Trace(activations, (0, 2), 3, lambda *_: activations, size=(24, 32), mean_attention=attention)


def maps() -> torch.Tensor:
    """Two maps (2, 3, 4) from 0 to 1."""
    return normalise(torch.rand(2, *GRID, generator=torch.Generator().manual_seed(1)))


def refinement(name: str) -> Refinement:
    """A refinement with the options that params.yaml ships, if it has any."""
    return Refinement(lookup.load("methods.refine", name), {"caa": caa_params()}.get(name))


@pytest.mark.parametrize("name", REFINEMENTS)
def test_refined_maps_keep_shape_and_type_and_lie_between_0_and_1(name: str) -> None:
    refined = refinement(name).refine(maps(), trace())
    assert (refined.shape, refined.dtype) == (maps().shape, maps().dtype)
    assert refined.min() >= 0
    assert refined.max() <= 1


@pytest.mark.parametrize("name", REFINEMENTS)
def test_what_must_be_recorded_is_read_without_an_import(name: str) -> None:
    assert lookup.needs("methods.refine", name) == lookup.load("methods.refine", name).NEEDS


@pytest.mark.parametrize("name", REFINEMENTS)
def test_no_class_at_all_is_no_map_at_all(name: str) -> None:
    assert refinement(name).refine(maps()[:0], trace()).shape == (0, *GRID)


def test_none_changes_no_bit_and_needs_no_attention() -> None:
    config = cam_config(eigencam, refine=Refinement(none))
    assert config.record_config == cam_config(eigencam).record_config
    assert maps_of(trace(), config).equal(maps_of(trace(), cam_config(eigencam)))


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
