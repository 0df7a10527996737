"""CLIP's ResNet (Radford et al. 2021, section 2.4): convolutions to a grid of cells, and attention that pools them.

The mean of all cells is token 0, what CLIP's paper calls attention pooling: all tokens attend to all, and the output of
token 0 is the feature. So behind the convolutions stands one layer of attention, like a transformer's last block but
without residual path and second half, and what reads that block's attention reads this one's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from wildseg.encoders.attention import AttentionOverride, join_heads, override_by_head, split_heads
from wildseg.encoders.positions import resample

STRIDE = 32  # pixels per cell, on each axis


def unsupported_reason(visual: nn.Module) -> str | None:
    """Return why an image tower cannot be run up to its last cells, None where it can."""
    if not isinstance(visual, ModifiedResNet):
        return f"its image tower is a {type(visual).__name__}, not CLIP's own ResNet"
    return None


class ResNet:
    """Reads an open_clip `ModifiedResNet` up to its last cells, and on from there; has no weights."""

    pool = "tok"  # the class token, here the mean of all cells, is pooled
    patch = (STRIDE, STRIDE)

    def __init__(self, visual: ModifiedResNet, pos_embed_interpolation: str = "bicubic") -> None:
        """Wrap `visual`; `pos_embed_interpolation` names a way of `resample`."""
        self.visual = visual
        self.attention = visual.attnpool
        self.interpolation = pos_embed_interpolation
        side = math.isqrt(len(self.attention.positional_embedding) - 1)
        self.native_grid = (side, side)

    def cells(self, pixels: Tensor) -> Tensor:
        """Return what the convolutions leave of pixels (B, 3, 32*h, 32*w): (B, C, h, w), not negative."""
        visual = self.visual
        # On a GPU torch rounds what convolutions multiply to ten bits (TF32), unless TF32 is disabled.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))

    def tokens(self, cells: Tensor) -> Tensor:
        """Return what attention pools: (B, 1 + h*w, C), the mean of all cells first, positions added."""
        flat = cells.flatten(2).transpose(1, 2)
        stored = self.attention.positional_embedding
        grid = (cells.shape[2], cells.shape[3])
        return torch.cat([flat.mean(1, keepdim=True), flat], 1) + resample(
            stored, self.native_grid, grid, self.interpolation
        )

    def queries_keys_values(self, queries: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q of `queries` (B, R, C), k and v of `context` (B, T, C): (B, heads, R or T, C/heads) each."""
        layer = self.attention
        query, key, value = (
            split_heads(project(tokens), layer.num_heads)
            for project, tokens in ((layer.q_proj, queries), (layer.k_proj, context), (layer.v_proj, context))
        )
        return query, key, value

    def pooled(self, tokens: Tensor, pool: str) -> Tensor:
        """Turn `tokens` into features (B, d), not normalised.

        Args:
            tokens: (B, 1 + h*w, C).
            pool: ``tok`` follows token 0, as trained; ``avg`` takes the mean over what all cells would become.
        """
        queries = tokens[:, :1] if pool == "tok" else tokens[:, 1:]
        mixed = F.scaled_dot_product_attention(*self.queries_keys_values(queries, tokens))
        return self.projected(mixed).mean(1)

    def projected(self, mixed: Tensor) -> Tensor:
        """Turn the attention's output (B, heads, R, C/heads) into features (B, R, d)."""
        return self.attention.c_proj(join_heads(mixed))

    def dense_features(self, tokens: Tensor, override: AttentionOverride) -> Tensor:
        """Return one feature per cell, (B, h*w, d), not normalised, from an attention that is another.

        Args:
            tokens: (B, 1 + h*w, C).
            override: replaces ``softmax(q k^T / sqrt(d)) v``, for one image and head at a time.
        """
        return self.attention.c_proj(override_by_head(override, *self.queries_keys_values(tokens, tokens))[:, 1:])

    def features(self, pixels: Tensor) -> Tensor:
        """Return what open_clip's forward returns for pixels (B, 3, 32*h, 32*w) of any size: (B, d), not normalised."""
        return self.pooled(self.tokens(self.cells(pixels)), self.pool)
