"""Look-alike regions of one's own frames, from a bank that `wildseg memory` builds (the idea of CorrCLIPv2, 2026).

``own share * L_c + (1 - own share) * p_c(r)`` at each cell of a large region r: p_c is the share of class c in
``softmax(scale * s . t)``, s the normalised mean of the values of the regions nearest to r, which lie in other frames.
Both lie in [0, 1]. Cells of small regions keep their maps. The mathematics is that of `wildseg.cam.memory`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from wildseg.cam import memory
from wildseg.cam.regions import on_grid
from wildseg.core.limits import Between, Count, Share

NEEDS = frozenset({"image", "regions"})


def refine(
    maps: np.ndarray,
    _image: np.ndarray,
    recollection: memory.Recollection,
    *,
    neighbours: Count = 20,
    own: Share = 0.5,
    min_area: Share = 0.02,
    gap_s: Annotated[float, Between(0, 1e9)] = 2.0,
    scale: Annotated[float, Between(0.001, 10000)] = 40.0,
    clusters: Annotated[int, Between(1, 1000)] = 24,
    region_scale: Annotated[float, Between(0.1, 4)] = 1.0,
    encoder: str | None = None,
    encoder_weights: str | None = "imagenet",
) -> np.ndarray:
    """Return refined maps (K, h, w) float64.

    Args:
        maps: (K, h, w) in [0, 1], K > 0.
        recollection: the regions of the frame, and the bank.
        neighbours: regions of the bank that a region is named by, fewer where there are not so many; without any, it
            keeps its maps.
        own: how much the map itself counts, from 0 to 1.
        min_area: share of the frame that a region has at least; smaller ones keep their maps.
        gap_s: seconds around the frame, of the same source, whose regions are left out; its own are in any case.
        scale: on inner products before the softmax.
        clusters: of k-means, at most so many regions a frame; this and those below decide what the bank holds.
        region_scale: size of the frame in front of the network where regions are found, as in cam.scales.
        encoder: a second encoder for the keys, as for proxyclip; None takes a middle block of CLIP.
        encoder_weights: of it, as for proxyclip.
    """
    del clusters, region_scale, encoder, encoder_weights  # see wildseg.cam.region_features
    result, bank, regions = maps.astype(np.float64), recollection.bank, recollection.regions
    large = np.flatnonzero(regions.areas >= min_area - 1e-9)
    allowed = bank.elsewhere(recollection.origin, gap_s)
    if not len(large) or not allowed.any():
        return result
    found = memory.nearest(regions.keys[large], bank.keys, allowed, bank.ranks, neighbours)
    says = memory.shares(
        memory.support(bank.values, found), recollection.texts, recollection.present, recollection.num_classes, scale
    )
    labels = on_grid(regions.labels, (maps.shape[1], maps.shape[2]))
    for region, share in zip(large, says, strict=True):
        cells = labels == region
        result[:, cells] = memory.fuse(result[:, cells], share[:, None], own)
    return result
