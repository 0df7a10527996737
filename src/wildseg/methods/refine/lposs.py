"""LPOSS (Stojnic et al. 2025): label propagation on a graph of patches that are alike in their features.

The features are the values of the last block of the image-text model; the published ones are DINO's. The published
constants spread maps far along such weaker features; the soft ones spread them less. The mathematics is that of
`wildseg.cam.patch_graph`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from wildseg.cam import patch_graph
from wildseg.cam.trace import Trace
from wildseg.core.errors import ModelError
from wildseg.core.limits import Between, Count

NEEDS = frozenset({"features"})
CONSTANTS = {"soft": (0.8, 6.0, 0.03), "published": (0.95, 3.0, 0.01)}  # alpha, gamma, sigma


def refine(
    maps: Tensor,
    trace: Trace,
    *,
    constants: Literal["soft", "published"] = "soft",
    alpha: Annotated[float, Between(0, 0.9999)] | None = None,
    gamma: Annotated[float, Between(0.01, 100)] | None = None,
    sigma: Annotated[float, Between(0, 1000)] | None = None,
    neighbours: Count = 400,
    steps: Count = 10,
) -> Tensor:
    """Return refined maps (K, h, w) float64, not normalised.

    Args:
        maps: (K, h, w) in [0, 1].
        trace: the recorded pass.
        constants: those of the three below that are None.
        alpha: how far maps spread.
        gamma: exponent of the cosines of features.
        sigma: decline of weights per pixel of distance, of the image as the network has it.
        neighbours: patches that each is connected to, itself included.
        steps: of conjugate gradients.

    Raises:
        ModelError: the network has no such features.
    """
    if trace.last is None:
        raise ModelError("cam.refine: lposs compares values of the last attention; this network has none")
    known = zip((alpha, gamma, sigma), CONSTANTS[constants], strict=True)
    alpha, gamma, sigma = (usual if value is None else value for value, usual in known)
    grid = (maps.shape[1], maps.shape[2])
    places = patch_graph.places(grid, trace.size)
    values = trace.last.values().transpose(0, 1).flatten(1)  # (h*w, C), heads side by side
    weights = patch_graph.neighbour_graph(values, places, neighbours, gamma, sigma)
    graph = patch_graph.normalised(weights)
    found = patch_graph.label_propagation(maps.flatten(1).cpu().numpy(), graph, alpha, steps)
    return torch.from_numpy(found).to(maps.device).unflatten(1, grid)
