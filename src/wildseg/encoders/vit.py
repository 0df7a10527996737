"""CLIP's vision transformer, block by block: the forward pass of open_clip with its inside in reach.

Pre-norm blocks ``u = z + attention(ln_1(z))``, ``z = u + mlp(ln_2(u))`` (Radford et al. 2021; Dosovitskiy et al. 2021,
equations 1-4). open_clip's own forward takes one image size and returns the pooled feature only; activation maps
need the tokens before the last block, the attention of each block, and grids of any size.
Token 0 is the class token (CLS), the others are patches, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from wildseg.encoders.attention import (
    AttentionOverride,
    AttentionRecorder,
    attend,
    override_by_head,
    queries_keys_values,
)
from wildseg.encoders.positions import resample

EVERY = slice(None)
CLS = slice(0, 1)


@dataclass(frozen=True)
class Tokens:
    """Tokens on their way through the network.

    values: (B, 1 + h*w, D). grid: (h, w) patches.
    """

    values: Tensor
    grid: tuple[int, int]


def unsupported_reason(visual: nn.Module) -> str | None:
    """Return why an image tower cannot be run block by block, None where it can."""
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is None or not hasattr(visual, "class_embedding"):
        return f"its image tower is a {type(visual).__name__}, not open_clip's own vision transformer"
    if getattr(visual, "attn_pool", None) is not None:
        return "its image tower pools by attention, not by its class token or a mean"
    if visual.pool_type not in ("tok", "avg"):
        return f"its image tower pools by {visual.pool_type!r}, not by its class token or a mean"
    if not all(isinstance(getattr(block, "attn", None), nn.MultiheadAttention) for block in blocks):
        return "its image tower has attention of an unusual kind"
    return None


class ViT:
    """Runs an open_clip `VisionTransformer` block by block; has no weights."""

    def __init__(self, visual: VisionTransformer, pos_embed_interpolation: str = "bicubic") -> None:
        """Wrap `visual`, for which `unsupported_reason` returns None; for the other see `resample`."""
        self.visual = visual
        self.interpolation = pos_embed_interpolation
        self.blocks = list(visual.transformer.resblocks)
        self.pool: str = visual.pool_type  # tok: the class token is pooled; avg: the mean over patches
        self.patch: tuple[int, int] = tuple(visual.patch_size)
        self.native_grid: tuple[int, int] = tuple(visual.grid_size)

    def embed(self, pixels: Tensor) -> Tokens:
        """Turn pixels (B, 3, h*p, w*q) into tokens that enter the first block."""
        size = pixels.shape[2] // self.patch[0], pixels.shape[3] // self.patch[1]
        # A convolution whose stride is its kernel is a matrix product, which stays in full float32 on every GPU.
        patches = F.unfold(pixels, self.patch, stride=self.patch).transpose(1, 2)  # (B, h*w, 3*p*q)
        tokens = patches @ self.visual.conv1.weight.flatten(1).T  # (B, h*w, D)
        cls = self.visual.class_embedding.expand(pixels.shape[0], 1, -1)
        values = torch.cat([cls, tokens], dim=1) + self.positions(size)
        return Tokens(self.visual.ln_pre(values), size)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Return the positional embedding for a grid of (h, w) patches: (1 + h*w, D)."""
        return resample(self.visual.positional_embedding, self.native_grid, grid, self.interpolation)

    def trunk(self, pixels: Tensor, leave: int = 1, recorder: AttentionRecorder | None = None) -> Tokens:
        """Run all blocks but the last `leave` on pixels (B, 3, H', W'), recorded by `recorder`."""
        tokens = self.embed(pixels)
        values = tokens.values
        for number, block in enumerate(self.blocks[: len(self.blocks) - leave]):
            values = self.run_recorded(number, block, values, recorder or AttentionRecorder())
        return Tokens(values, tokens.grid)

    def run_recorded(
        self, number: int, block: ResidualAttentionBlock, values: Tensor, recorder: AttentionRecorder
    ) -> Tensor:
        """Run one of `blocks`, recorded by `recorder`, on its input tokens (B, T, D); return its output tokens."""
        keep = recorder.pairs if recorder.keep_all else None
        values, weights = self.block(block, values, block.ln_1(values), EVERY, recorder.needs_weights(number), keep)
        if weights is not None:
            recorder.accumulate(number, weights)
        if recorder.outputs is not None:
            recorder.outputs.append(values)
        return values

    def block(
        self,
        block: ResidualAttentionBlock,
        values: Tensor,
        normed: Tensor,
        rows: slice = EVERY,
        attention: bool = False,
        keep: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Run one block and return (tokens of `rows` (B, R, D), attention (B, R, T) or None).

        Args:
            block: one of `blocks`.
            values: tokens that enter it, (B, T, D).
            normed: ``block.ln_1(values)``, handed in because activation maps differentiate with respect to it.
            rows: which tokens to follow; a class token alone costs little, since only its query is needed.
            attention: also return the attention weights, mean over heads.
            keep: called with q and k of all heads.
        """
        mixed, weights = attend(block.attn, normed[:, rows], normed, weights=attention, keep=keep)
        return self.after_attention(block, values[:, rows], mixed), weights

    def after_attention(self, block: ResidualAttentionBlock, values: Tensor, mixed: Tensor) -> Tensor:
        """Return the tokens that leave a block from those that entered it and what its attention gave: (B, R, D)."""
        values = values + block.ls_1(mixed)
        return values + block.ls_2(block.mlp(block.ln_2(values)))

    def pooled(self, values: Tensor, pool: str) -> Tensor:
        """Turn tokens after the last block (B, T, D) into features (B, d), not normalised.

        Args:
            values: with ``pool="tok"`` only token 0 is read, with ``"avg"`` all but token 0.
            pool: the model's own `pool`, or the other one.
        """
        chosen = values[:, :1] if pool == "tok" else values[:, 1:]
        return self.projected(self.pool_input(chosen))

    def pool_input(self, values: Tensor) -> Tensor:
        """Return what is averaged over: tokens (B, T, D) after the final norm, unless that norm follows the pooling."""
        return values if self.visual.final_ln_after_pool else self.visual.ln_post(values)

    def projected(self, averaged: Tensor) -> Tensor:
        """Average what `pool_input` returns, (B, T, D), and project it into the space shared with texts: (B, d)."""
        pooled = averaged.mean(1)
        pooled = self.visual.ln_post(pooled) if self.visual.final_ln_after_pool else pooled
        return pooled if self.visual.proj is None else pooled @ self.visual.proj

    def dense_features(self, values: Tensor, override: AttentionOverride, residual: bool, mlp: bool) -> Tensor:
        """Return one feature per patch, (B, h*w, d), not normalised, from a last block whose attention is another.

        Args:
            values: tokens that enter the last block, (B, 1 + h*w, D).
            override: replaces ``softmax(q k^T / sqrt(d)) v``, for one image and head at a time.
            residual: with the path around the attention.
            mlp: with the block's second half.
        """
        last = self.blocks[-1]
        normed = last.ln_1(values)
        mixed = override_by_head(override, *queries_keys_values(last.attn, normed, normed))  # (B, 1 + h*w, D)
        out = last.ls_1(last.attn.out_proj(mixed))
        out = values + out if residual else out
        out = out + last.ls_2(last.mlp(last.ln_2(out))) if mlp else out
        features = self.visual.ln_post(out[:, 1:])
        return features if self.visual.proj is None else features @ self.visual.proj

    def region_features(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Return one feature per region of each image from a single pass: (B, R, d), not normalised.

        In the last block the class token attends only to itself and the patches of a region; mean pooling averages only
        those. Nothing before the last block changes.

        Args:
            pixels: (B, 3, H', W').
            regions: (R, h*w) bool on the grid of the pixels; each holds at least one patch.
        """
        tokens = self.trunk(pixels)
        last = self.blocks[-1]
        normed = last.ln_1(tokens.values)
        if self.pool == "avg":
            values, _ = self.block(last, tokens.values, normed)
            return torch.stack([self.pooled(_keep(values, region), "avg") for region in regions], dim=1)
        visible = torch.cat([regions.new_ones(len(regions), 1), regions], dim=1)  # (R, 1 + h*w)
        cls, query = (t[:, :1].expand(-1, len(regions), -1) for t in (tokens.values, normed))
        mixed, _ = attend(last.attn, query, normed, visible=visible)
        values = self.after_attention(last, cls, mixed)  # (B, R, D)
        return self.pooled(values.flatten(0, 1)[:, None], "tok").unflatten(0, (len(pixels), -1))

    def masked_features(self, pixels: Tensor, visible: Tensor) -> Tensor:
        """Return one feature per image, (B, d), not normalised; its class token attends to some patches only.

        This applies in every block. Patches attend to all tokens; mean pooling averages only the visible ones.

        Args:
            pixels: (B, 3, H', W').
            visible: (B, h*w) bool on the grid of the pixels. Without any, the class token attends to itself alone.
        """
        values = self.embed(pixels).values
        cls = torch.cat([visible.new_ones(len(visible), 1), visible], dim=1)  # (B, T)
        tokens = cls.shape[1]
        seen = torch.cat([cls[:, None], visible.new_ones(len(visible), tokens - 1, tokens)], dim=1)[:, None]
        for block in self.blocks:
            normed = block.ln_1(values)
            mixed, _ = attend(block.attn, normed, normed, visible=seen)  # seen: (B, 1, T, T), the same for all heads
            values = self.after_attention(block, values, mixed)
        if self.pool == "tok":
            return self.pooled(values, "tok")
        kept = [_keep(own[None], there if there.any() else ~there) for own, there in zip(values, visible, strict=True)]
        return torch.cat([self.pooled(own, "avg") for own in kept])

    def features(self, pixels: Tensor) -> Tensor:
        """Return what open_clip's forward returns for pixels (B, 3, H', W') of any size: (B, d), not normalised."""
        tokens = self.trunk(pixels)
        last = self.blocks[-1]
        rows = CLS if self.pool == "tok" else EVERY
        values, _ = self.block(last, tokens.values, last.ln_1(tokens.values), rows)
        return self.pooled(values, self.pool)


def _keep(values: Tensor, region: Tensor) -> Tensor:
    return torch.cat([values[:, :1], values[:, 1:][:, region]], dim=1)
