"""A CLIP ResNet read for activation maps; its target layer is the output of its last stage."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.cam.tower_state import RecordConfig, RecordedAttention, Scalars, TowerState
from wildseg.encoders.attention import AttentionOverride, AttentionRecorder
from wildseg.encoders.attention_gradients import HeadGradients
from wildseg.encoders.resnet import ResNet


@torch.no_grad()
def read(resnet: ResNet, pixels: Tensor, config: RecordConfig) -> list[TowerState]:
    """Read images of one size, (B, 3, 32*h, 32*w), up to the target layer."""
    recorder = config.recorder(1)
    cells = resnet.cells(pixels)
    if recorder.keep_all or recorder.needs_weights(0):
        tokens = resnet.tokens(cells)
        query, key, _ = resnet.queries_keys_values(tokens, tokens)
        recorder.observe(0, query, key)
    return [_Cells(resnet, cells[i : i + 1], recorder, i) for i in range(len(pixels))]


class _Cells(TowerState):
    def __init__(self, resnet: ResNet, cells: Tensor, recorder: AttentionRecorder, image: int) -> None:
        self.resnet = resnet
        self.layer = cells
        self.pooled = cells.new_zeros(1 + cells.shape[2] * cells.shape[3])
        self.pooled[0] = 1
        self.recorded = RecordedAttention.of(recorder, image)

    def features(self, layer: Tensor, pool: str) -> Tensor:
        return self.resnet.pooled(self.resnet.tokens(layer), "tok" if pool == "model" else "avg")

    def dense(self, override: AttentionOverride, residual: bool, mlp: bool) -> Tensor:
        return self.resnet.dense_features(self.resnet.tokens(self.layer), override)[0]

    @torch.no_grad()
    def values(self) -> Tensor:
        tokens = self.resnet.tokens(self.layer)
        return self.resnet.queries_keys_values(tokens[:, :1], tokens)[2][0, :, 1:]

    @torch.no_grad()
    def read_out(self, mixed: Tensor) -> Tensor:
        return self.resnet.projected(mixed[None])[0]

    def attention_gradients(self, scalars: Scalars) -> Iterator[HeadGradients]:
        resnet = self.resnet
        with torch.no_grad():
            tokens = resnet.tokens(self.layer)
            query, key, value = resnet.queries_keys_values(tokens, tokens)  # (1, heads, 1 + h*w, d) each
            output = F.scaled_dot_product_attention(query, key, value)
        with torch.enable_grad():
            leaf = output.requires_grad_()
            # Only token 0 is pooled, but its row belongs to a matrix like any other block's.
            values = scalars(resnet.projected(leaf[:, :, :1])[:, 0])
        outputs = torch.cat([torch.autograd.grad(one, leaf, retain_graph=True)[0] for one in values.unbind()])
        yield HeadGradients(query[0], key[0], value[0], outputs)
