"""One recorded pass through a network: what lies at the target layer, and gradients of any target with respect to it.

A method sees a `Trace` and nothing of the network, so the same method reads a vision transformer and a CNN. It is made
by `wildseg.cam.record`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wildseg.cam.blocks import Blocks
from wildseg.core.errors import ModelError
from wildseg.encoders.attention import AttentionOverride
from wildseg.encoders.attention_gradients import HeadGradients

# Logits (K, M), row i of the i-th queried class and column c of text c; and the K columns of the queried classes.
# Returns one scalar per row, (K,).
Target = Callable[[Tensor, Sequence[int]], Tensor]


# The attention override of the last block, and whether its residual path and its MLP stay in;
# returns cosines (M, h, w) of the patches' features with the texts.
Dense = Callable[[AttentionOverride, bool, bool], Tensor]


@dataclass(frozen=True)
class LastAttention:
    """The last attention in parts, and the image around it, for methods that bring attention weights of their own.

    grid: (h, w). values: its values at each patch, (heads, h*w, C/heads). read_out: cosines (M, N) with the texts of
    what attention weights made of values, (heads, N, C/heads); without residual path and second half. encode: features
    (1, C, h', w') of the image by a second encoder. crop: the same of a part of the pixels, rows and columns, whose
    sides are multiples of `patch`.
    """

    grid: tuple[int, int]
    values: Callable[[], Tensor]
    read_out: Callable[[Tensor], Tensor]
    encode: Callable[[], Tensor]
    crop: Callable[[slice, slice], LastAttention]
    patch: tuple[int, int]


@dataclass(frozen=True)
class Trace:
    """What a CAM method may read.

    activations: (1, C, h, w) at the target layer, on the image's grid. classes: the K columns of the logits that are
    asked about. num_classes: how many columns are classes; those behind are background phrases. backward: gradients of
    a target, see `gradients`. attention: per transformer block (1 + h*w, 1 + h*w), mean over heads, rows sum to 1,
    token 0 the class token; empty unless it was recorded, each computed on access. mean_attention: the
    mean of it over chosen blocks. usual_pool: how to pool where a method's paper takes the mean over patches:
    ``patches``, but ``model`` for a model trained on captions of regions, whose pooled token attends to parts.

    What not every network has, and is None there. pooled: (1 + h*w,) how much of each token is pooled, sums to 1.
    head: (M, C) weights of the linear classifier behind a mean over the activations. attention_backward: see
    `attention_gradients`. dense: cosines of every patch and text, see `Dense`. rescore: logits (n, M) of the image
    under masks (n, H', W') in [0, 1], by which its normalised pixels are multiplied; size: (H', W'). texts: (M, d) unit
    vectors. blocks: of a vision transformer. last: see `LastAttention`.
    """

    activations: Tensor
    classes: tuple[int, ...]
    num_classes: int
    backward: Callable[[Target, str], Tensor]
    attention: Sequence[Tensor] = ()
    pooled: Tensor | None = None
    head: Tensor | None = None
    attention_backward: Callable[[Target], Iterator[HeadGradients]] | None = None
    dense: Dense | None = None
    rescore: Callable[[Tensor], Tensor] | None = None
    size: tuple[int, int] = (0, 0)
    mean_attention: Tensor | None = None
    default_pool: str = "model"
    texts: Tensor | None = None
    blocks: Blocks | None = None
    last: LastAttention | None = None

    def gradients(self, target: Target | None = None, pool: str = "model") -> Tensor:
        """Return d target_i / d activations for each queried class: (K, C, h, w).

        Args:
            target: from logits to scalars; by default each class's own logit.
            pool: ``model`` pools as the model was trained to; ``patches`` takes the mean over patches even where the
                model pools its class token.
        """
        return self.backward(target or class_logit, pool)

    def attention_gradients(self, target: Target | None = None) -> Iterator[HeadGradients]:
        """Yield the attention of every block, last to first, with d target_i / d attention for each queried class.

        Raises:
            ModelError: the network has no attention.
        """
        if self.attention_backward is None:
            raise ModelError("cam.method: it reads the attention of a vision transformer; this network has none")
        return self.attention_backward(target or class_logit)

    def open_blocks(self, method: str) -> tuple[Blocks, Tensor]:
        """Return the blocks for `method`, which changes what passes between them, and the texts (M, d).

        Raises:
            ModelError: the network has none.
        """
        if self.blocks is None or self.texts is None:
            raise ModelError(
                f"cam.method: {method} changes what passes between the blocks of a vision transformer; this network "
                "has none"
            )
        return self.blocks, self.texts


def class_logit(logits: Tensor, classes: Sequence[int]) -> Tensor:
    """The default target: row i's logit of the i-th queried class, (K,)."""
    return logits[torch.arange(len(classes)), list(classes)]
