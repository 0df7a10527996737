"""A vision transformer read for activation maps.

Its target layer depends on how it pools. Where the class token is pooled it is the first layer norm of the last block,
since patches of the last block's output do not touch the logit; where patches are averaged it is what is averaged.
(With the wrong one of the two, maps of small models lose most of what they show.)
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wildseg.cam.blocks import Blocks
from wildseg.cam.tower_state import RecordConfig, RecordedAttention, Scalars, TowerState
from wildseg.encoders.attention import AttentionOverride, AttentionRecorder, queries_keys_values
from wildseg.encoders.attention_gradients import HeadGradients, backward_through_attention
from wildseg.encoders.vit import CLS, EVERY, Tokens, ViT


@torch.no_grad()
def read(vit: ViT, pixels: Tensor, config: RecordConfig) -> list[TowerState]:
    """Read images of one size, (B, 3, h*p, w*q), up to the target layer."""
    recorder = config.recorder(len(vit.blocks))
    tokens = vit.trunk(pixels, recorder=recorder)
    begin = _at_norm if vit.pool == "tok" else _at_mean
    return begin(vit, pixels, tokens, recorder)


def _at_norm(vit: ViT, pixels: Tensor, tokens: Tokens, recorder: AttentionRecorder) -> list[TowerState]:
    normed = vit.blocks[-1].ln_1(tokens.values)
    if recorder.keep_all or recorder.needs_weights(len(vit.blocks) - 1):
        query, key, _ = queries_keys_values(vit.blocks[-1].attn, normed, normed)
        recorder.observe(len(vit.blocks) - 1, query, key)
    return [
        _ClassToken(
            vit, pixels[i : i + 1], Tokens(tokens.values[i : i + 1], tokens.grid), recorder, i, normed[i : i + 1]
        )
        for i in range(len(pixels))
    ]


def _at_mean(vit: ViT, pixels: Tensor, tokens: Tokens, recorder: AttentionRecorder) -> list[TowerState]:
    averaged = vit.pool_input(vit.run_recorded(len(vit.blocks) - 1, vit.blocks[-1], tokens.values, recorder))
    return [
        _Mean(vit, pixels[i : i + 1], Tokens(tokens.values[i : i + 1], tokens.grid), recorder, i, averaged[i : i + 1])
        for i in range(len(pixels))
    ]


class _Transformer(TowerState):
    def __init__(
        self, vit: ViT, pixels: Tensor, tokens: Tokens, recorder: AttentionRecorder, image: int, layer: Tensor
    ) -> None:
        self.vit = vit
        self.pixels = pixels  # (1, 3, H', W')
        self.tokens = tokens  # before the last block
        self.cls = layer[:, CLS]
        self.layer = layer[:, 1:].transpose(1, 2).unflatten(2, tokens.grid)
        self.recorded = RecordedAttention.of(recorder, image)
        self.outputs = tuple(values[image] for values in (recorder.outputs or ())[: len(vit.blocks) - 1])

    def dense(self, override: AttentionOverride, residual: bool, mlp: bool) -> Tensor:
        return self.vit.dense_features(self.tokens.values, override, residual, mlp)[0]

    @torch.no_grad()
    def values(self) -> Tensor:
        return self.blocks().heads(-1, self.tokens.values[0])[2][:, 1:]

    @torch.no_grad()
    def read_out(self, mixed: Tensor) -> Tensor:
        blocks = self.blocks()
        return blocks.projected(blocks.joined(-1, mixed))

    def blocks(self) -> Blocks:
        return Blocks(self.vit, self.pixels, self.tokens.grid, self.outputs)

    def attention_gradients(self, scalars: Scalars) -> Iterator[HeadGradients]:
        vit = self.vit
        return backward_through_attention(vit, self.pixels, lambda values: scalars(vit.pooled(values, vit.pool)))


class _ClassToken(_Transformer):
    @property
    def pooled(self) -> Tensor:  # type: ignore[override]
        weights = torch.zeros_like(self.tokens.values[0, :, 0])
        weights[0] = 1
        return weights

    def features(self, layer: Tensor, pool: str) -> Tensor:
        vit = self.vit
        normed = torch.cat([self.cls, layer.flatten(2).transpose(1, 2)], 1)
        rows = CLS if pool == "model" else EVERY
        after, _ = vit.block(vit.blocks[-1], self.tokens.values, normed, rows)
        return vit.pooled(after, "tok" if pool == "model" else "avg")


class _Mean(_Transformer):
    @property
    def pooled(self) -> Tensor:  # type: ignore[override]
        weights = torch.full_like(self.tokens.values[0, :, 0], 1 / (self.tokens.values.shape[1] - 1))
        weights[0] = 0
        return weights

    def features(self, layer: Tensor, _pool: str) -> Tensor:
        return self.vit.projected(layer.flatten(2).transpose(1, 2))

    def head(self, texts: Tensor) -> Tensor | None:
        visual = self.vit.visual
        if visual.final_ln_after_pool:
            return None
        return texts if visual.proj is None else texts @ visual.proj.T
