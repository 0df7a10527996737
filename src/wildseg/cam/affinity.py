"""CAA, class-aware attention-based affinity (CLIP-ES, Lin et al. 2023, section 3.3): a map spread along attention.

Patch-to-patch attention, averaged over blocks, is made nearly doubly stochastic (Sinkhorn) and symmetric; its power
moves evidence along the affinity ``r = S^t (b * map)``. The box mask ``b`` keeps only sources inside boxes around what
the map already marks strongly, while any patch may receive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

EIGHT_NEIGHBOURS = np.ones((3, 3), int)


@dataclass(frozen=True)
class Affinity:
    """How maps are refined.

    layers: blocks that are averaged, counted from the last. skip_last: blocks left out at the end before counting; in a
    model that pools its class token, the patches of the last block were never trained to attend well. sinkhorn: rounds
    of normalising columns, then rows. power: how often the affinity is applied. box: share of a map's maximum above
    which a place is inside a box.
    """

    layers: int = 8
    skip_last: int = 0
    sinkhorn: int = 3
    power: int = 2
    box: float = 0.4

    def refine(self, maps: Tensor, attention: Sequence[Tensor]) -> Tensor:
        """Return refined maps (K, h, w), not normalised.

        Args:
            maps: (K, h, w) in [0, 1].
            attention: one (1 + h*w, 1 + h*w) per block, first to last, token 0 the class token.
        """
        kept = attention[: len(attention) - self.skip_last][-self.layers :] or attention[:1]
        mean = torch.stack([weights[1:, 1:] for weights in kept]).mean(0)
        return spread(maps, transition(mean, self.sinkhorn), boxes(maps, self.box), self.power)


def transition(weights: Tensor, rounds: int) -> Tensor:
    """Return the symmetric affinity of non-negative weights (N, N): `rounds` times columns, then rows summed to 1.

    Rows that sum to 1 come last; both do only in the limit. The symmetric part is returned.
    """
    for _ in range(rounds):
        weights = weights / weights.sum(0, keepdim=True)
        weights = weights / weights.sum(1, keepdim=True)
    return (weights + weights.T) / 2


def spread(maps: Tensor, affinity: Tensor, mask: Tensor, power: int) -> Tensor:
    """Return ``S^power (mask * maps)``: (K, h, w).

    A mask over columns of the power equals masking what it is applied to, so that no product of two N x N matrices is
    ever needed: ``(S S)(b * v) = S (S (b * v))``. Only sources are masked, never receivers.
    """
    evidence = (maps * mask).flatten(1).T  # (N, K)
    for _ in range(power):
        evidence = affinity @ evidence
    return evidence.T.reshape(maps.shape)


def boxes(maps: Tensor, share: float, clip_quirk: bool = False) -> Tensor:
    """Return masks (K, h, w) of 0 and 1: bounding boxes of what exceeds `share` of each map's maximum, joined.

    Args:
        maps: (K, h, w) in [0, 1]; thresholded in 8 bits, as published.
        share: of the maximum.
        clip_quirk: end boxes before the last column and row, as the published code does even where the object reaches
            them; an object of one pixel in the corner then has no box at all.
    """
    masks = [_boxes(image, share, clip_quirk) for image in (maps.detach() * 255).byte().cpu().numpy()]
    return torch.from_numpy(np.stack(masks)).to(maps) if masks else torch.zeros_like(maps)


def _boxes(image: np.ndarray, share: float, clip_quirk: bool) -> np.ndarray:
    height, width = (side - 1 if clip_quirk else side for side in image.shape)
    mask = np.zeros(image.shape, np.float32)
    components, _ = ndimage.label(image > int(share * image.max()), EIGHT_NEIGHBOURS)
    for rows, columns in ndimage.find_objects(components):
        mask[rows.start : min(rows.stop, height), columns.start : min(columns.stop, width)] = 1
    return mask
