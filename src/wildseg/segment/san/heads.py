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
    """Three layers with rectifiers between them, on the last axis."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Start from random weights."""
        super().__init__()
        widths = (inputs, HIDDEN, HIDDEN, outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, values: Tensor) -> Tensor:
        """Return (..., outputs) of values (..., inputs)."""
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
        self.pixel = Mlp(width, HIDDEN)
        self.bias = Mlp(width, HIDDEN * heads)  # a head's channels are neighbours
        self.scale = nn.Linear(1, 1)

    def forward(self, tokens: SideTokens) -> tuple[Tensor, Tensor]:
        """Return mask logits (B, Q, h, w) and attention biases (B, heads, Q, h, w)."""
        queries = self.query(tokens.queries)  # (B, Q, 256)
        cells = tokens.pixels.movedim(1, -1)  # (B, h, w, D)
        masks = torch.einsum("bqc,bijc->bqij", queries, self.pixel(cells))
        spaces = self.bias(cells).unflatten(-1, (self.heads, HIDDEN))
        biases = torch.einsum("bqc,bijnc->bnqij", queries, spaces)
        return masks, self.scale(biases[..., None])[..., 0]
