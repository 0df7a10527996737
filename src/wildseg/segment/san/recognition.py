"""Recognition of mask proposals by CLIP itself: its deeper blocks, with one class token for each mask.

Xu et al., CVPR 2023, section 3.3. The tokens of masks (SLS, for shadowed class tokens) start as copies of the class
token. Each attends to itself and, with a bias added to the logits, to the patches; no other token attends to it. So the
class token and the patches run as in CLIP alone, and without a bias every SLS token is what the class token is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from wildseg.encoders.attention import join_heads, queries_keys_values
from wildseg.encoders.positions import resample
from wildseg.encoders.vit import Tokens, ViT

TAPS = 4  # feature maps for the side adapter


@dataclass(frozen=True)
class Shared:
    """What leaves the blocks that serve the side adapter and the recognition alike.

    Attributes:
        tokens: (B, 1 + h*w, D), the class token first.
        maps: (B, D, h, w) after each block of `taps`.
    """

    tokens: Tokens
    maps: list[Tensor]


def shared_blocks(depth: int) -> int:
    """Return how many of CLIP's blocks are shared: 9 of 12, 18 of 24."""
    return depth * 3 // 4


def taps(depth: int) -> list[int]:
    """Return after which blocks features are taken, 0 the embedding: 0, 3, 6 and 9 of 12, 0, 6, 12 and 18 of 24."""
    last = shared_blocks(depth)
    return sorted({round(place * last / (TAPS - 1)) for place in range(TAPS)})


class Tower(ViT):
    """CLIP's tower with a position embedding of its own, (1 + h*w, D) of the native grid, which may be trained."""

    def __init__(self, visual: VisionTransformer, stored: Tensor) -> None:
        """Wrap `visual`, see `ViT`, whose own position embedding is not read."""
        super().__init__(visual)
        self.stored = stored

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Return the position embedding for a grid of (h, w) patches: (1 + h*w, D), resampled bicubically."""
        return resample(self.stored, self.native_grid, grid)


def run_shared(tower: ViT, pixels: Tensor) -> Shared:
    """Run the shared blocks on pixels (B, 3, H', W') of any size of at least a patch.

    Args:
        tower: of CLIP, which pools by its class token.
        pixels: normalised as CLIP's; what reaches beyond whole patches, below and to the right, is left out.
    """
    tokens = tower.embed(pixels)
    values, wanted, maps = tokens.values, taps(len(tower.blocks)), []
    for number in range(shared_blocks(len(tower.blocks)) + 1):
        if number:
            block = tower.blocks[number - 1]
            values, _ = tower.block(block, values, block.ln_1(values))
        if number in wanted:
            maps.append(values[:, 1:].transpose(1, 2).unflatten(2, tokens.grid))
    return Shared(Tokens(values, tokens.grid), maps)


def recognise(tower: ViT, tokens: Tokens, biases: Tensor) -> Tensor:
    """Return one feature of unit length per mask, (B, Q, d), by the blocks that are not shared.

    Args:
        tower: of CLIP.
        tokens: of `run_shared`.
        biases: (B, heads, Q, h', w') of any grid; of each of CLIP's cells the largest within it is taken.
    """
    bias = cell_biases(biases, tokens.grid)  # (B, heads, Q, h*w)
    queries = bias.shape[2]
    values = torch.cat([tokens.values[:, :1].expand(-1, queries, -1), tokens.values], 1)  # (B, Q + 1 + h*w, D)
    deeper = tower.blocks[shared_blocks(len(tower.blocks)) :]
    for place, block in enumerate(deeper, 1):
        normed = block.ln_1(values)
        query, key, value = queries_keys_values(block.attn, normed, normed)
        parts = [_attend_as_masks(query, key, value, bias)]
        if place < len(deeper):  # nothing attends to what would leave the last block
            own, seen, given = (part[:, :, queries:] for part in (query, key, value))
            parts.append(functional.scaled_dot_product_attention(own, seen, given))
        mixed = torch.cat(parts, 2)
        values = tower.after_attention(block, values[:, : mixed.shape[2]], block.attn.out_proj(join_heads(mixed)))
    pooled = tower.pooled(values[:, :queries].flatten(0, 1)[:, None], "tok")
    return functional.normalize(pooled, dim=-1).unflatten(0, (values.shape[0], queries))


def cell_biases(biases: Tensor, grid: Sequence[int]) -> Tensor:
    """Return the largest bias within each cell of a grid (h, w): (B, heads, Q, h*w) of (B, heads, Q, h', w')."""
    pooled = functional.adaptive_max_pool2d(biases.flatten(0, 1), (grid[0], grid[1]))
    return pooled.unflatten(0, biases.shape[:2]).flatten(3)


def _attend_as_masks(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Return the attention's output of the mask tokens, (B, heads, Q, d), of all tokens (B, heads, Q + 1 + N, d)."""
    queries = bias.shape[2]
    own = query[:, :, :queries] * query.shape[-1] ** -0.5
    to_patches = own @ key[:, :, queries + 1 :].transpose(2, 3) + bias  # (B, heads, Q, N)
    to_self = (own * key[:, :, :queries]).sum(-1, keepdim=True)
    weights = torch.cat([to_self, to_patches], -1).softmax(-1).to(value.dtype)
    return weights[..., :1] * value[:, :, :queries] + weights[..., 1:] @ value[:, :, queries + 1 :]
