"""SC-CLIP (Bai et al. 2024, arXiv:2411.15869): a CLIP that calibrates its last block by the likeness of middle ones.

Blocks count from 1 to L; published for L = 12 and scaled with it are the middle block 9, the low block 4, and the sum
of blocks 4 to 10. Equations are those of the published code (SuleBai/SC-CLIP, commit 0417ba9):

1. Outliers among the patches behind block L - 1 (local outlier factor, the highest 5 %) become the mean of those of
   their 8 neighbours that are none; likewise the patches behind the middle block, at the same places.
2. M are the cosines of the middle patches. x <- M' x, M' = M where it is at least 0.4, rows summing to 1.
3. f(x) = W_o A v + b_o + 0.3 CLS: v, k of LN(x), patches alone,
   ``A = (softmax((M - mean M) 3, negative entries out) + softmax(k k^T / sqrt d)) / 2``.
4. x <- P f(x) + P f(s), P as M' of the low block, s the sum of blocks 4 to 10; the final norm, the projection.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.cam import dense
from wildseg.cam.blocks import Blocks, softmax_scores
from wildseg.cam.trace import Trace
from wildseg.core.limits import Between, Count, Share

NEEDS = frozenset({"blocks", "competition"})


def cam(
    trace: Trace,
    *,
    scale: Annotated[float, Between(0.001, 10000)] = 40.0,
    competitors: Literal["present", "all"] = "present",
    outliers: Share = 0.05,
    neighbours: Count = 30,
    similarity: Share = 0.4,
    sharpness: Annotated[float, Between(0, 1000)] = 3.0,
    class_token: Annotated[float, Between(0, 1000)] = 0.3,
    several_blocks: bool = True,
) -> Tensor:
    """Return maps (K, h, w) in [0, 1].

    Args:
        trace: the recorded pass.
        scale: by which cosines are multiplied before the softmax.
        competitors: see `wildseg.cam.dense.maps`.
        outliers: share of the patches that are replaced.
        neighbours: k of the local outlier factor.
        similarity: cosine below which patches do not share features.
        sharpness: factor on centred cosines, see `wildseg.cam.dense.centred_attention`.
        class_token: share of the class token that is added.
        several_blocks: add the sum of several blocks.

    Raises:
        ModelError: the network has no blocks.
        ParamsError: no text competes.
    """
    blocks, texts = trace.open_blocks("scclip")
    features = calibrated(blocks, outliers, neighbours, similarity, sharpness, class_token, several_blocks)
    cosines = (features @ texts.T).T.unflatten(1, blocks.grid)
    return dense.shares(trace, cosines, method="scclip", scale=scale, competitors=competitors)


def levels(blocks: int) -> tuple[int, int, int]:
    """Return the low, the middle and the highest block of a transformer of so many, counted from 1."""
    last = max(1, blocks - 1)
    low, middle, high = (min(last, max(1, round(share * blocks / 12))) for share in (4, 9, 10))
    return low, middle, high


def calibrated(
    blocks: Blocks,
    share: float,
    neighbours: int,
    similarity: float,
    sharpness: float,
    class_token: float,
    several: bool,
) -> Tensor:
    """Return unit features of the patches, (N, d); see the steps above."""
    outputs = blocks.outputs() or [blocks.embedded()]  # a single block: what enters it
    low, middle, high = levels(len(blocks))
    x = outputs[-1][1:]
    odd = highest(outlier_factors(x, neighbours), share)
    likeness = dense.cosines(repaired(outputs[middle - 1][1:], odd, blocks.grid))
    attention = dense.centred_attention(likeness, 1.0, sharpness)

    def last_block(patches: Tensor, cls: Tensor) -> Tensor:
        _, key, value = blocks.heads(-1, patches)
        mixed = [(attention + softmax_scores(k, k)) / 2 @ v for k, v in zip(key, value, strict=True)]
        return blocks.joined(-1, torch.stack(mixed)) + class_token * cls

    x = last_block(aggregate(likeness, repaired(x, odd, blocks.grid), similarity), outputs[-1][:1])
    if several:
        summed = torch.stack(outputs[low - 1 : high]).sum(0)
        x = x + last_block(summed[1:], summed[:1])
    x = aggregate(dense.cosines(outputs[low - 1][1:]), x, similarity)
    return F.normalize(blocks.projected(x), dim=-1)


def outlier_factors(points: Tensor, neighbours: int) -> Tensor:
    """Return the local outlier factor of points (N, D), (N,), as the published code computes it.

    Distances are squared, and the reachability of a neighbour is the distance of a point's own k-th one, so that a
    point's density is its inverse; in the definition (Breunig et al. 2000) it is at least that of the neighbour.
    """
    count = min(neighbours, len(points) - 1)
    if count < 1:
        return torch.zeros(len(points), device=points.device)
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    distances.fill_diagonal_(-1)  # the first of the nearest, whatever coincides with it
    near, indices = distances.topk(count + 1, largest=False)
    density = 1 / near[:, -1].clamp_min(1e-12)
    return density[indices[:, 1:]].mean(1) / density


def highest(factors: Tensor, share: float) -> Tensor:
    """Return which factors (N,) lie above the quantile that leaves `share` of them: (N,) bool."""
    return factors > torch.quantile(factors, 1 - share)


def repaired(patches: Tensor, odd: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return patches (N, D), the odd ones (N,) replaced by the mean of their neighbours that are not; if there is one.

    Args:
        patches: (h*w, D).
        odd: (h*w,) bool.
        grid: (h, w).
    """
    sound = (~odd).to(patches)[:, None]

    def around(values: Tensor) -> Tensor:  # the sum over the 3x3 around each place
        return 9 * F.avg_pool2d(values.T.unflatten(1, grid)[None], 3, 1, 1)[0].flatten(1).T

    number = around(sound).round()  # an odd place itself counts nothing
    means = around(patches * sound) / number.clamp_min(1)
    return torch.where(odd[:, None] & (number > 0), means, patches)


def aggregate(likeness: Tensor, values: Tensor, similarity: float) -> Tensor:
    """Return values (N, D) averaged by the cosines (N, N) that reach `similarity`."""
    weights = likeness.masked_fill(likeness < similarity, 0)
    return weights / (weights.sum(1, keepdim=True) + 1e-6) @ values
