"""From the side adapter's tokens to mask logits and to the biases of CLIP's attention.

Each is an inner product of a query's vector and a pixel's (Xu et al., CVPR 2023, section 3.2). Masks are proposed in
one space; each attention head has a pixel space of its own for the same vector of the query.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from wildseg.segment.san.side import SideTokens

HIDDEN = 256  # width of the spaces


class Mlp(nn.Module):
    """Three layers with rectifiers between them."""

    def __init__(self, inputs: int, outputs: int, of_map: bool = False) -> None:
        """Start from random weights; `of_map` is for maps (B, inputs, h, w), else vectors (..., inputs) are taken."""
        super().__init__()
        pairs = pairwise((inputs, HIDDEN, HIDDEN, outputs))
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 1) if of_map else nn.Linear(a, b) for a, b in pairs)

    def forward(self, values: Tensor) -> Tensor:
        """Return (..., outputs) of vectors, (B, outputs, h, w) of maps."""
        for layer in self.layers[:-1]:
            values = layer(values).relu()
        return self.layers[-1](values)


class MaskHeads(nn.Module):
    """Mask logits, and one attention bias for each head of CLIP that all its deeper blocks share."""

    def __init__(self, width: int, heads: int) -> None:
        """Start from random weights.

        Args:
            width: D, of the side adapter.
            heads: of CLIP's attention.
        """
        super().__init__()
        self.heads = heads
        self.query = Mlp(width, HIDDEN)
        self.bias = Mlp(width, HIDDEN * heads, of_map=True)  # a head's channels are neighbours
        self.pixel = Mlp(width, HIDDEN, of_map=True)
        self.scale = nn.Linear(1, 1)

    def forward(self, tokens: SideTokens) -> tuple[Tensor, Tensor]:
        """Return mask logits (B, Q, h, w) and attention biases (B, heads, Q, h, w)."""
        queries = self.query(tokens.queries)  # (B, Q, 256)
        masks = torch.einsum("bqc,bcij->bqij", queries, self.pixel(tokens.pixels))
        spaces = self.bias(tokens.pixels).unflatten(1, (self.heads, HIDDEN))
        biases = torch.einsum("bqc,bncij->bnqij", queries, spaces)
        return masks, self.scale(biases[..., None])[..., 0]
