"""The side adapter: a light vision transformer with mask queries, into which features of CLIP are fused.

Xu et al., Side Adapter Network for Open-Vocabulary Semantic Segmentation, CVPR 2023 (arXiv:2302.12242), section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

PATCH = 16  # pixels
GRID = 40  # patches a side of the stored position embedding: an image of 640 x 640
EPS = 1e-6  # of its normalisations
STD = 0.02  # of its first embeddings


class SideTokens(NamedTuple):
    """What leaves a block: mask queries (B, Q, D), and pixels (B, D, h, w) on the grid of the patches."""

    queries: Tensor
    pixels: Tensor


class Fusion(nn.Module):
    """Brings CLIP's feature map to the width and the grid of the side adapter."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Start from a uniform distribution of variance 1 / `inputs`, without bias."""
        super().__init__()
        self.norm = nn.LayerNorm(inputs, EPS)
        self.project = nn.Conv2d(inputs, outputs, 1)
        nn.init.kaiming_uniform_(self.project.weight, a=1)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type] # it has one

    def forward(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return (B, outputs, *grid) of features (B, inputs, h', w'); channels are normalised cell by cell."""
        normed = self.norm(features.movedim(1, -1)).movedim(-1, 1)
        return functional.interpolate(self.project(normed), grid, mode="bilinear", align_corners=False)


class SideAdapter(nn.Module):
    """From images and CLIP's feature maps to mask queries and a map of pixel features.

    Position embeddings are added in front of every block. CLIP's map j is added to the patches after block j of the
    side adapter, where block 0 is the embedding.
    """

    def __init__(self, widths: Sequence[int], num_queries: int, width: int, depth: int, heads: int) -> None:
        """Start from random weights.

        Args:
            widths: channels of CLIP's feature map for each of the places 0, 1, ...; at most `depth` + 1.
            num_queries: Q.
            width: D.
            depth: blocks.
            heads: of the attention; D is a multiple.
        """
        super().__init__()
        self.queries = nn.Parameter(STD * torch.randn(num_queries, width))
        self.query_positions = nn.Parameter(STD * torch.randn(num_queries, width))
        self.positions = nn.Parameter(STD * torch.randn(GRID * GRID, width))
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        norm = partial(nn.LayerNorm, eps=EPS)
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, norm_layer=norm)  # type: ignore[arg-type] # a layer's factory will do
            for _ in range(depth)
        )
        self.fusions = nn.ModuleList(Fusion(inputs, width) for inputs in widths)
        self.pixels = nn.Identity()  # a name for the map that leaves the last block
        for block in self.blocks:
            for layer in block.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=STD)
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> SideTokens:
        """Return the tokens after the last block; see `after`."""
        queries, pixels = self.after(images, features, (len(self.blocks),))[-1]
        return SideTokens(queries, self.pixels(pixels))

    def after(self, images: Tensor, features: Sequence[Tensor], numbers: Sequence[int]) -> list[SideTokens]:
        """Return the tokens after some blocks, in the order of the blocks.

        Args:
            images: (B, 3, 16 h, 16 w), normalised.
            features: (B, widths[j], h', w') of CLIP, for each place j.
            numbers: of blocks, from 1; those behind the last of them are not run.
        """
        patches = self.patches(images)  # (B, D, h, w)
        grid = (patches.shape[2], patches.shape[3])
        positions = torch.cat([self.query_positions, self.grid_positions(grid)])  # (Q + h*w, D)
        queries = self.queries.expand(images.shape[0], -1, -1)
        tokens = torch.cat([queries, patches.flatten(2).transpose(1, 2)], 1) + positions  # (B, Q + h*w, D)
        tokens = self._fused(tokens, 0, features, grid)
        found = []
        for number, block in enumerate(self.blocks[: max(numbers)], 1):
            tokens = block(tokens if number == 1 else tokens + positions)
            tokens = self._fused(tokens, number, features, grid)
            if number in numbers:
                found.append(self._split(tokens, grid))
        return found

    def grid_positions(self, grid: tuple[int, int]) -> Tensor:
        """Return the position embedding of a grid of (h, w) patches: (h*w, D), resampled bicubically."""
        if grid == (GRID, GRID):
            return self.positions
        cells = self.positions.T.unflatten(1, (GRID, GRID))[None]  # (1, D, 40, 40)
        return functional.interpolate(cells, grid, mode="bicubic", align_corners=False)[0].flatten(1).T

    def _fused(self, tokens: Tensor, place: int, features: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        if place >= len(self.fusions):
            return tokens
        added = self.fusions[place](features[place], grid).flatten(2).transpose(1, 2)  # (B, h*w, D)
        number = len(self.queries)
        return torch.cat([tokens[:, :number], tokens[:, number:] + added], 1)

    def _split(self, tokens: Tensor, grid: tuple[int, int]) -> SideTokens:
        number = len(self.queries)
        return SideTokens(tokens[:, :number], tokens[:, number:].transpose(1, 2).unflatten(2, grid))
