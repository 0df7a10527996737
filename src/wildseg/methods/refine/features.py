"""Means of maps over patches that are alike, by the cosines of centred features of the last block (as in SC-CLIP 2024).

The mathematics is that of `wildseg.cam.patch_graph.similar_mean`.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from wildseg.cam import patch_graph
from wildseg.cam.trace import Trace
from wildseg.core.limits import Between, Share

NEEDS = frozenset({"features"})


def refine(
    maps: Tensor,
    trace: Trace,
    *,
    threshold: Share = 0.4,
    power: Annotated[int, Between(1, 1000)] = 1,
) -> Tensor:
    """Return refined maps (K, h, w) float64, not normalised.

    Args:
        maps: (K, h, w) in [0, 1].
        trace: the recorded pass.
        threshold: cosines below it are 0.
        power: how often the means are taken.
    """
    grid, values = maps.shape[1:], maps.flatten(1)
    for _ in range(power):
        values = patch_graph.similar_mean(values, trace.activations[0].flatten(1).T, threshold)
    return values.unflatten(1, grid)
