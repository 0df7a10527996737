"""CAA, class-aware attention-based affinity (CLIP-ES, Lin et al. 2023, section 3.3): a map spread along attention.

Patch-to-patch attention, averaged over blocks, is made nearly doubly stochastic (Sinkhorn) and symmetric; its power
moves evidence along the affinity ``r = S^t (b * map)``. The box mask ``b`` keeps only sources inside boxes around what
the map already marks strongly, while any patch may receive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

if TYPE_CHECKING:
    from wildseg.cam.params import Caa

EIGHT_NEIGHBOURS = np.ones((3, 3), int)
BLOCK = 2**21  # numbers of a matrix that are there in double precision at a time


def blocks(number: int, caa: Caa) -> range:
    """Return which of a network's `number` blocks are averaged, counted from 0; at least the first."""
    end = number - caa.skip_last
    return range(max(0, end - caa.layers), end) if end > 0 else range(1)


def refine(maps: Tensor, attention: Tensor, caa: Caa) -> Tensor:
    """Return refined maps (K, h, w) float64, not normalised.

    Args:
        maps: (K, h, w) in [0, 1].
        attention: the mean over `blocks`, (1 + h*w, 1 + h*w), token 0 the class token.
        caa: the parameters.
    """
    patches = transition(attention[1:, 1:], caa.sinkhorn)
    return spread(maps, patches, boxes(maps, caa.box, caa.exclusive_box_ends), caa.power)


@dataclass(frozen=True)
class Transition:
    """A symmetric affinity ``(D + D^T) / 2`` with ``D = diag(rows) W diag(columns)``, of which only W is ever stored.

    weights: (N, N), not negative. rows, columns: (N,) float64.
    """

    weights: Tensor
    rows: Tensor
    columns: Tensor

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Return the affinity times vectors (N, K): (N, K) float64."""
        rows, columns = self.rows[:, None], self.columns[:, None]
        vectors = vectors.double()
        there, back = _products(self.weights, columns * vectors, rows * vectors)
        return (rows * there + columns * back) / 2


def transition(weights: Tensor, rounds: int) -> Transition:
    """Return the affinity of weights (N, N), not negative: `rounds` times columns, then rows summed to 1 (Sinkhorn).

    Rows that sum to 1 come last; both do only in the limit. Each round is a factor for every row and column, so the
    matrix itself is only multiplied with vectors and never copied: for a large frame it is hundreds of megabytes.
    """
    ones = torch.ones(len(weights), 1, dtype=torch.float64, device=weights.device)
    rows = columns = ones
    for _ in range(rounds):
        columns = 1 / _products(weights, ones, rows)[1]
        rows = 1 / _products(weights, columns, ones)[0]
    return Transition(weights, rows[:, 0], columns[:, 0])


def _products(weights: Tensor, right: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``W right`` and ``W^T left`` in float64, for weights (N, N) in any precision and (N, K) float64.

    What attention spreads widely differs little from place to place, and float32 keeps few digits of the difference.
    """
    there, back = torch.empty_like(right), torch.zeros_like(left)
    step = max(1, BLOCK // len(weights))
    for start in range(0, len(weights), step):
        part = weights[start : start + step].double()
        torch.mm(part, right, out=there[start : start + step])
        back.addmm_(part.T, left[start : start + step])
    return there, back


def spread(maps: Tensor, affinity: Transition | Tensor, mask: Tensor, power: int) -> Tensor:
    """Return ``S^power (mask * maps)``: (K, h, w).

    A mask over columns of the power equals masking what it is applied to, so that no product of two N x N matrices is
    ever needed: ``(S S)(b * v) = S (S (b * v))``. Only sources are masked, never receivers.
    """
    evidence = (maps * mask).flatten(1).T  # (N, K)
    for _ in range(power):
        evidence = affinity @ evidence
    return evidence.T.reshape(maps.shape)


def boxes(maps: Tensor, share: float, clip_edges: bool = False) -> Tensor:
    """Return masks (K, h, w) of 0 and 1: bounding boxes of what exceeds `share` of each map's maximum, joined.

    Args:
        maps: (K, h, w) in [0, 1]; thresholded in 8 bits, as published.
        share: of the maximum.
        clip_edges: end boxes before the last column and row, as the published code does even where the object reaches
            them; an object of one pixel in the corner then has no box at all.
    """
    masks = [_boxes(image, share, clip_edges) for image in (maps.detach() * 255).byte().cpu().numpy()]
    return torch.from_numpy(np.stack(masks)).to(maps) if masks else torch.zeros_like(maps)


def _boxes(image: np.ndarray, share: float, clip_edges: bool) -> np.ndarray:
    height, width = (side - 1 if clip_edges else side for side in image.shape)
    mask = np.zeros(image.shape, np.float32)
    components, _ = ndimage.label(image > int(share * image.max()), EIGHT_NEIGHBOURS)
    for rows, columns in ndimage.find_objects(components):
        mask[rows.start : min(rows.stop, height), columns.start : min(columns.stop, width)] = 1
    return mask
