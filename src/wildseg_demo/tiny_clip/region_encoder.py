"""One forward pass of a stock CLIP image encoder that yields a vector for every box of an image.

All blocks but the last see the whole crop. In the last one, the class token's query is asked once per box and may
attend only to itself and to that box's tokens. For a box that covers the full grid this is exactly `encode_image`.
"""

import math

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor
from torch.nn import functional as F


def encode_regions(visual: VisionTransformer, images: Tensor, corners: list[tuple[int, int]], inside: Tensor) -> Tensor:
    """Encode boxes of image crops.

    Args:
        visual: the image tower of an open_clip CLIP, pooled by its class token.
        images: (B, 3, h * patch, w * patch) normalised.
        corners: of every crop, the (row, column) of its first cell on the model's full grid; the matching part of
            the position table is used.
        inside: (B, R, h * w) bool, the cells of every box.

    Returns:
        (B, R, embed), not normalised.
    """
    tokens = visual.conv1(images)  # (B, C, h, w)
    shape = tokens.shape[-2:]
    tokens = tokens.flatten(2).transpose(1, 2)  # (B, h*w, C)
    positions, class_position = _positions(visual, corners, shape)
    first = (visual.class_embedding + class_position).expand(len(tokens), 1, -1)
    tokens = torch.cat([first.to(tokens.dtype), tokens + positions.to(tokens.dtype)], 1)  # (B, 1+h*w, C)
    tokens = visual.ln_pre(tokens)
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        tokens = block(tokens)
    pooled = _attend_per_box(last, tokens, inside)  # (B, R, C)
    return visual.ln_post(pooled) @ visual.proj


def _positions(visual: VisionTransformer, corners: list[tuple[int, int]], shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Position vectors of every crop's cells, (B, h*w, C), and of the class token, (C,)."""
    table = visual.positional_embedding
    grid = table[1:].reshape(*visual.grid_size, -1)
    height, width = shape
    parts = [grid[row : row + height, column : column + width].flatten(0, 1) for row, column in corners]
    return torch.stack(parts), table[0]


def _attend_per_box(block: ResidualAttentionBlock, tokens: Tensor, inside: Tensor) -> Tensor:
    """A residual attention block for the class token alone, once per box: (B, 1+N, C) to (B, R, C)."""
    attention = block.attn
    heads, width = attention.num_heads, tokens.shape[-1]
    normed = block.ln_1(tokens)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = F.linear(normed[:, :1], weight[:width], bias[:width])
    query = query.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, 1, c)
    keys_values = F.linear(normed, weight[width:], bias[width:]).unflatten(-1, (2, heads, -1))
    keys, values = keys_values.permute(2, 0, 3, 1, 4)  # (B, heads, 1+N, c) each

    scores = (query @ keys.transpose(-1, -2)).float() / math.sqrt(width // heads)  # (B, heads, 1, 1+N)
    itself = torch.ones_like(inside[..., :1])
    allowed = torch.cat([itself, inside], -1)[:, None]  # (B, 1, R, 1+N)
    shares = scores.masked_fill(~allowed, -torch.inf).softmax(-1)  # (B, heads, R, 1+N)
    answer = (shares.to(values.dtype) @ values).transpose(1, 2).flatten(2)  # (B, R, C)

    pooled = tokens[:, :1] + attention.out_proj(answer)
    return pooled + block.mlp(block.ln_2(pooled))
