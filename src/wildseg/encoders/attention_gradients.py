"""Gradients of any scalar with respect to the attention of every block of a vision transformer, in little memory.

With ``O = A V`` for each head, ``dy/dA = (dy/dO) V^T``: only tokens are stored, not attention, and one head's
``(T, T)`` matrix at a time is made of them. Blocks are run again one by one on the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.encoders.attention import join_heads, queries_keys_values
from wildseg.encoders.vit import ViT


@dataclass(frozen=True)
class HeadGradients:
    """One block: query, key and value (heads, T, d) each, and d y_i / d output of the attention: (K, heads, T, d)."""

    query: Tensor
    key: Tensor
    value: Tensor
    outputs: Tensor

    @property
    def heads(self) -> int:
        """Return the number of heads."""
        return len(self.query)

    def attention(self, head: int) -> Tensor:
        """Return the attention of a head: (T, T), rows are queries and sum to 1."""
        return (self.query[head] @ self.key[head].T * self.query.shape[-1] ** -0.5).softmax(-1)

    def gradient(self, scalar: int, head: int) -> Tensor:
        """Return d y_i / d attention of a head: (T, T)."""
        return self.outputs[scalar, head] @ self.value[head].T


def backward_through_attention(
    vit: ViT, pixels: Tensor, scalars: Callable[[Tensor], Tensor]
) -> Iterator[HeadGradients]:
    """Yield the blocks of a transformer, last to first, with the gradients of K scalars at their attention.

    Args:
        vit: the transformer.
        pixels: (1, 3, h*p, w*q).
        scalars: from the tokens after the last block, (1, T, D), to (K,).
    """
    with torch.no_grad():
        inputs = [vit.embed(pixels).values]  # what enters each block, and last what leaves the last: (1, T, D)
        for block in vit.blocks:
            inputs.append(vit.block(block, inputs[-1], block.ln_1(inputs[-1]))[0])
    with torch.enable_grad():
        leaf = inputs[-1].requires_grad_()
        upstream = torch.stack([_one(scalar, leaf) for scalar in scalars(leaf).unbind()])  # (K, 1, T, D)
    for block, values in zip(reversed(vit.blocks), reversed(inputs[:-1]), strict=True):
        with torch.enable_grad():
            leaf = values.detach().requires_grad_()
            normed = block.ln_1(leaf)
            query, key, value = queries_keys_values(block.attn, normed, normed)  # (1, heads, T, d) each
            output = F.scaled_dot_product_attention(query, key, value)
            after = vit.after_attention(block, leaf, block.attn.out_proj(join_heads(output)))
        back = [torch.autograd.grad(after, (leaf, output), one, retain_graph=True) for one in upstream]
        upstream = torch.stack([at_values for at_values, _ in back])
        outputs = torch.cat([at_output for _, at_output in back])  # (K, heads, T, d)
        yield HeadGradients(query[0].detach(), key[0].detach(), value[0].detach(), outputs)


def _one(scalar: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(scalar, leaf, retain_graph=True)[0]
