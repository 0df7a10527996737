"""RF-CLIP (Wu et al., AAAI 2026, arXiv:2511.16170): patches that distract CLIP are smoothed between its blocks.

Equations are those of the published code (liblacklucy/RF-CLIP, commit c2b333e). Blocks count from 1 to L, tokens are x.

1. After each block x_i <- (1 - a) x_i + a m_i, m_i the mean of the 3x3 patches around i (zeros outside, always over 9)
   where patch i is an outlier, else x_i. It is one where ``max_{j in channels} u_j > sigma / D`` with
   ``u = (x_i - min x_i) / sum(x_i - min x_i)``.
2. With `redistribute`, in blocks 1 to L - 1 patches whose column of the attention exceeds a mean of 0.1 lose part of it
   to the other patches of each row.
3. G is the mean of the L outputs, S the cosines of its patches, 0 below `similarity`.
4. The last block runs on S x_{L-1} and on S G: values of patches, weighed by the mean over all blocks of
   ``softmax(k k^T / sqrt d)``; no residual path, no second half; the mean of both is projected.
5. Of texts that resemble each other, the one most like the image moves towards the two patches nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from wildseg.cam import dense
from wildseg.cam.blocks import Blocks, softmax_scores
from wildseg.cam.competition import columns
from wildseg.cam.trace import Trace
from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Share

NEEDS = frozenset({"blocks", "competition"})
PUBLISHED = {  # channels that are large in outliers, of OpenAI's weights
    "openai_b16": (4, 162, 189, 326, 429, 474, 633, 713),
    "openai_l14": (250, 261, 437, 650, 720, 779, 936, 1005),
}
MOST, MIN_SHARE = 8, 0.01  # of channels that are derived
SINK, KEPT = 0.1, 0.6


def cam(
    trace: Trace,
    *,
    scale: Annotated[float, Between(0.001, 10000)] = 40.0,
    competitors: Literal["present", "all"] = "present",
    channels: Literal["auto", "openai_b16", "openai_l14"] | Sequence[Annotated[int, Between(0, 100000)]] = "auto",
    sigma: Annotated[float, Between(0.0, 1000000)] = 5.0,
    blend: Share = 0.4,
    redistribute: bool = False,
    similarity: Share = 0.4,
    text_mix: Share = 0.03,
    text_distance: Annotated[float, Between(0, 2)] = 0.14,
) -> Tensor:
    """Return maps (K, h, w) in [0, 1].

    Args:
        trace: the recorded pass.
        scale: by which cosines are multiplied before the softmax.
        competitors: see `wildseg.cam.dense.maps`.
        channels: of the tokens, large in outliers: those published for OpenAI's ViT-B/16 or ViT-L/14, a list, or
            ``auto``: `outlier_channels` of the frame itself.
        sigma: see above; a large one finds no outliers.
        blend: a above.
        redistribute: take attention from patches that attract all others; in the paper, off in its code.
        similarity: cosine below which patches do not share features.
        text_mix: share of the image in the texts that are moved; 0 moves none.
        text_distance: cosine distance up to which texts form a group (complete linkage).

    Raises:
        ModelError: the network has no blocks.
        ParamsError: a channel that the network does not have, or no text competes.
    """
    blocks, texts = trace.open_blocks("rfclip")
    chosen = _channels(channels, blocks)
    features, whole = refocused(blocks, chosen, sigma, blend, redistribute, similarity)
    shared = columns(trace, len(texts), competitors, "rfclip")
    texts = texts.clone()
    texts[shared] = moved(texts[shared], features, whole, text_mix, text_distance)
    cosines = (features @ texts.T).T.unflatten(1, blocks.grid)
    return dense.shares(trace, cosines, method="rfclip", scale=scale, competitors=competitors)


def refocused(
    blocks: Blocks, channels: Sequence[int], sigma: float, blend: float, redistribute: bool, similarity: float
) -> tuple[Tensor, Tensor]:
    """Return unit features of the patches (N, d) and of the image (d,); see steps 1 to 4 above."""
    values, keys, outputs = blocks.embedded(), [], []
    for number in range(len(blocks)):
        last = number == len(blocks) - 1
        keys.append(blocks.heads(number, values)[1])
        before = values
        whole = _redistributed(blocks, number, values) if redistribute and not last else blocks.run(number, values)
        values = torch.cat([whole[:1], denoise(whole[1:], blocks.grid, channels, sigma, blend)])
        outputs.append(values)
    guide = torch.stack(outputs).mean(0)
    inputs = [torch.cat([own[:1], enhance(guide[1:], own[1:], similarity)]) for own in (before, guide)]
    read = [blocks.heads(-1, own) for own in inputs]
    mixed: list[list[Tensor]] = [[] for _ in read]
    for head in range(len(keys[0])):  # a head at a time: matrices (N, N) of all would need gigabytes
        others = sum((_patches(key[head]) for key in keys[:-1]), torch.zeros(()))
        for own, (_, key, value) in zip(mixed, read, strict=True):
            own.append((others + _patches(key[head])) / len(keys) @ value[head, 1:])
    out = torch.stack([blocks.joined(-1, torch.stack(own)) for own in mixed]).mean(0)
    return F.normalize(blocks.projected(out), dim=-1), blocks.pooled(whole)


def _patches(key: Tensor) -> Tensor:
    """Return the part between patches of ``softmax(k k^T / sqrt(d))``: rows sum to less than 1."""
    return softmax_scores(key, key)[1:, 1:]


def denoise(patches: Tensor, grid: tuple[int, int], channels: Sequence[int], sigma: float, blend: float) -> Tensor:
    """Return patches (N, D), outliers blended with the mean of the 3x3 around them; see step 1."""
    around = F.avg_pool2d(patches.T.unflatten(1, grid)[None], 3, 1, 1)[0].flatten(1).T  # zeros outside count
    flags = outliers(patches, channels, sigma)
    return torch.where(flags[:, None], (1 - blend) * patches + blend * around, patches)


def outliers(patches: Tensor, channels: Sequence[int], sigma: float) -> Tensor:
    """Return which of (N, D) patches are large in one of the channels: (N,) bool."""
    if not channels:
        return torch.zeros(len(patches), dtype=torch.bool, device=patches.device)
    return _shares(patches)[:, list(channels)].amax(1) > sigma / patches.shape[1]


def _shares(patches: Tensor) -> Tensor:
    above = patches - patches.amin(1, keepdim=True)
    return above / above.sum(1, keepdim=True).clamp_min(torch.finfo(above.dtype).tiny)


def outlier_channels(outputs: Sequence[Tensor]) -> tuple[int, ...]:
    """Return the channels that are the largest of more than 1 % of patches, at most 8, the commonest first.

    Args:
        outputs: patches (N, D) behind blocks of the second half, of one picture or, better, of many.
    """
    largest = torch.cat([_shares(patches).argmax(1) for patches in outputs])
    counts = torch.bincount(largest, minlength=outputs[0].shape[1])
    order = sorted(range(len(counts)), key=lambda channel: (-int(counts[channel]), channel))
    return tuple(channel for channel in order[:MOST] if counts[channel] > MIN_SHARE * len(largest))


def _channels(chosen: str | Sequence[int], blocks: Blocks) -> Sequence[int]:
    if chosen == "auto":
        outputs = blocks.outputs()
        return outlier_channels([values[1:] for values in outputs[-(-7 * len(blocks) // 12) - 1 :]])
    channels = PUBLISHED[chosen] if isinstance(chosen, str) else tuple(chosen)
    width = blocks.embedded().shape[1]
    if wrong := [channel for channel in channels if channel >= width]:
        raise ParamsError(
            f"cam.options.rfclip.channels: expected channels from 0 to {width - 1}, as many as tokens of this model "
            f"have; found {wrong[0]}; take auto for a model without a published list"
        )
    return channels


def _redistributed(blocks: Blocks, number: int, values: Tensor) -> Tensor:
    query, key, value = blocks.heads(number, values)
    heads = zip(query, key, value, strict=True)
    mixed = [redistribute_attention(softmax_scores(q, k)) @ v for q, k, v in heads]
    return blocks.after_attention(number, values, torch.stack(mixed))


def redistribute_attention(attention: Tensor, sink: float = SINK, kept: float = KEPT) -> Tensor:
    """Return attention (1 + N, 1 + N) in which rows of patches give less to patches that all attend to; see step 2.

    What they lose goes to the other patches in proportion; rows keep their sums.
    """
    patches = attention[1:, 1:]
    sinks = patches.sum(0) / len(attention) > sink  # (N,)
    freed = (1 - kept) * patches[:, sinks].sum(1, keepdim=True)
    room = patches[:, ~sinks].sum(1, keepdim=True)
    changed = torch.where(sinks, patches * kept, patches * (1 + freed / room))
    done = attention.clone()
    done[1:, 1:] = torch.where(room > 0, changed, patches)
    return done


def enhance(guide: Tensor, values: Tensor, similarity: float) -> Tensor:
    """Return patches (N, D) summed by the cosines of `guide` (N, D) that reach `similarity`."""
    cosines = dense.cosines(guide)
    return cosines.masked_fill(cosines < similarity, 0) @ values


def moved(texts: Tensor, features: Tensor, whole: Tensor, mix: float, distance: float) -> Tensor:
    """Return texts (M, d), in each group of similar ones that nearest to the image moved towards patches; see step 5.

    Args:
        texts: unit vectors.
        features: unit features of the patches (N, d).
        whole: unit feature of the image (d,).
        mix: share of the patches.
        distance: cosine distance within a group.
    """
    if not mix:
        return texts
    unlike = (1 - texts @ texts.T).clamp_min(0).double().cpu().numpy()
    np.fill_diagonal(unlike, 0)
    tree = linkage(squareform((unlike + unlike.T) / 2), "complete")
    groups = fcluster(tree, distance, "distance")
    done, seen = texts.clone(), (texts @ whole).cpu().numpy()
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        best = int(members[seen[members].argmax()])
        nearest = (features @ texts[best]).topk(min(2, len(features))).indices
        done[best] = F.normalize((1 - mix) * texts[best] + mix * F.normalize(features[nearest].mean(0), dim=-1), dim=-1)
    return done
