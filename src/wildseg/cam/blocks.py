"""The blocks of a CLIP vision transformer in front of one image, for methods that change what passes between them.

Tokens are (1 + h*w, D) of one image, token 0 the class token; blocks are numbered from 0. No gradient is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.encoders.attention import join_heads, queries_keys_values
from wildseg.encoders.vit import ViT


@dataclass(frozen=True)
class Blocks:
    """One image and the transformer it is shown to.

    vit: the transformer. pixels: (1, 3, H', W'). grid: (h, w) patches. recorded: the tokens that leave each block but
    the last, from the ordinary pass; none where they were not recorded.
    """

    vit: ViT
    pixels: Tensor
    grid: tuple[int, int]
    recorded: Sequence[Tensor] = ()

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.vit.blocks)

    @torch.no_grad()
    def outputs(self) -> list[Tensor]:
        """Return the tokens that leave each block but the last in the ordinary pass."""
        if self.recorded:
            return list(self.recorded)
        found = [self.embedded()]
        for number in range(len(self) - 1):
            found.append(self.run(number, found[-1]))
        return found[1:]

    @torch.no_grad()
    def embedded(self) -> Tensor:
        """Return the tokens that enter the first block."""
        return self.vit.embed(self.pixels).values[0]

    @torch.no_grad()
    def run(self, number: int, values: Tensor) -> Tensor:
        """Return the tokens that leave a block, from those that enter it."""
        block = self.vit.blocks[number]
        return self.vit.block(block, values[None], block.ln_1(values[None]))[0][0]

    @torch.no_grad()
    def heads(self, number: int, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k and v of the tokens that enter a block, behind its first norm: (heads, T, D/heads) each."""
        block = self.vit.blocks[number]
        normed = block.ln_1(values[None])
        query, key, value = queries_keys_values(block.attn, normed, normed)
        return query[0], key[0], value[0]

    @torch.no_grad()
    def joined(self, number: int, mixed: Tensor) -> Tensor:
        """Return what a block's attention adds to the tokens, (N, D), from the output of its heads (heads, N, D/heads).

        Any number N of rows.
        """
        block = self.vit.blocks[number]
        return block.ls_1(block.attn.out_proj(join_heads(mixed[None])))[0]

    @torch.no_grad()
    def after_attention(self, number: int, values: Tensor, mixed: Tensor) -> Tensor:
        """Return the tokens that leave a block from those that enter it and the output of its heads."""
        block = self.vit.blocks[number]
        return self.vit.after_attention(block, values[None], block.attn.out_proj(join_heads(mixed[None])))[0]

    @torch.no_grad()
    def projected(self, values: Tensor) -> Tensor:
        """Return features (N, d), not normalised, of tokens (N, D): the final norm and the projection."""
        features = self.vit.visual.ln_post(values)
        return features if self.vit.visual.proj is None else features @ self.vit.visual.proj

    @torch.no_grad()
    def pooled(self, values: Tensor) -> Tensor:
        """Return the unit feature (d,) of the image, pooled as the model was trained, from what leaves the last block.

        Args:
            values: all tokens.
        """
        return F.normalize(self.vit.pooled(values[None], self.vit.pool), dim=-1)[0]


def softmax_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Return ``softmax(q k^T / sqrt(d))`` of (..., R, d) and (..., T, d): (..., R, T)."""
    return (queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5).softmax(-1)
