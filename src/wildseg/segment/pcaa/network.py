"""The segmentation network of PCAA: a dilated backbone, partial class activation attention, and an auxiliary head.

It learns from three terms: the chosen loss of its logits, the same of logits from the last stage but one, and
the focal loss of the partial class scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from wildseg.core.classes import IGNORE
from wildseg.encoders.cnn.backbone import Backbone
from wildseg.segment.anysize import AnySize
from wildseg.segment.pcaa.attention import Bins, PartialAttention
from wildseg.segment.pcaa.supervision import bin_labels, focal

if TYPE_CHECKING:  # prediction trains nothing
    from wildseg.segment.objective import Criterion
    from wildseg.training.objective import Term

AUXILIARY = 256  # channels of the auxiliary head


@dataclass(frozen=True)
class Weights:
    """Factors of the terms beside the loss of the logits, with their published values."""

    auxiliary: float = 0.4
    partial: float = 1.0


@dataclass(frozen=True)
class Outputs:
    """What the losses need, of a batch of images (B, 3, H, W).

    Attributes:
        logits: (B, K, H, W).
        auxiliary: (B, K, H, W).
        partial: (B, N, K) logits of the partial class scores, of each attention in turn.
    """

    logits: Tensor
    auxiliary: Tensor
    partial: list[Tensor]


class Head(nn.Module):
    """From features to class logits on their grid, by one or several attentions in a row."""

    def __init__(
        self, inputs: int, channels: int, num_ids: int, bins: Sequence[Bins], dropout: float, head_dropout: float
    ) -> None:
        """Start from random weights; see `Pcaa` for the arguments."""
        super().__init__()
        self.reduce = conv_norm(inputs, channels)
        self.attentions = nn.ModuleList(PartialAttention(channels, num_ids, size, dropout) for size in bins)
        self.smooth = conv_norm(channels, channels)
        self.fuse = conv_norm(inputs + channels, channels)
        self.dropout = nn.Dropout2d(head_dropout)
        self.classify = nn.Conv2d(channels, num_ids, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (B, K, h, w) and those of the partial class scores of features (B, inputs, h, w)."""
        attended, partial = self.reduce(features), []
        for attention in self.attentions:
            attended, scores = attention(attended)
            partial.append(scores)
        fused = self.fuse(torch.cat([self.smooth(attended), features], 1))
        return self.classify(self.dropout(fused)), partial


class Pcaa(AnySize, nn.Module):
    """From images (B, 3, H, W), of any H and W, to logits (B, K, H, W); a `SupervisesItself` of its objective.

    Attributes:
        encoder: the backbone.
        decoder: the head.
        auxiliary: the head on the last stage but one, for training alone.
    """

    def __init__(
        self,
        encoder: Backbone,
        num_ids: int,
        *,
        channels: int = 512,
        bins: Sequence[Bins] = ((4, 4),),
        dropout: float = 0.1,
        head_dropout: float = 0.0,
        weights: Weights = Weights(),  # noqa: B008 (frozen)
    ) -> None:
        """Put the network around a backbone.

        Args:
            encoder: the backbone; where it has one stage, the auxiliary head is on that one.
            num_ids: K, background included.
            channels: D, of the attention.
            bins: rows and columns of the bins of each attention.
            dropout: of channels in front of the class activation maps.
            head_dropout: of channels in front of the logits.
            weights: factors of the terms.
        """
        super().__init__()
        self.encoder: Backbone = encoder
        self.num_ids, self.bins, self.weights = num_ids, tuple(bins), weights
        self.decoder = Head(encoder.channels[-1], channels, num_ids, self.bins, dropout, head_dropout)
        self.auxiliary = nn.Sequential(
            conv_norm(encoder.channels[-2:][0], AUXILIARY), nn.Dropout2d(head_dropout), nn.Conv2d(AUXILIARY, num_ids, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K, H, W) of normalised images (B, 3, H, W)."""
        logits, _ = self.decoder(self.encoder(self._padded(images))[-1])
        return self._enlarged(logits, images)

    def training_outputs(self, images: Tensor) -> Outputs:
        """Return what the losses need, of normalised images (B, 3, H, W)."""
        features = self.encoder(self._padded(images))
        logits, partial = self.decoder(features[-1])
        auxiliary = self.auxiliary(features[-2:][0])
        return Outputs(self._enlarged(logits, images), self._enlarged(auxiliary, images), partial)

    def loss_terms(self, outputs: Outputs, target: Tensor, criterion: Criterion) -> dict[str, Term]:
        """Return the terms of the chosen loss, ``auxiliary`` and ``partial_classes``, each with its factor.

        See `wildseg.segment.objective.SupervisesItself`.
        """
        auxiliary = torch.stack(list(criterion(outputs.auxiliary, target).values())).sum()
        height, width = self.padded_size(*target.shape[1:])
        mask = functional.pad(target, (0, width - target.shape[2], 0, height - target.shape[1]), value=IGNORE)
        partial = [
            focal(
                logits[..., criterion.ids].float(),
                bin_labels(mask, self.num_ids, bins)[..., criterion.ids],
                criterion.total,
            )
            for logits, bins in zip(outputs.partial, self.bins, strict=True)
        ]
        return {
            **criterion(outputs.logits, target),
            "auxiliary": self.weights.auxiliary * auxiliary,
            "partial_classes": self.weights.partial * torch.stack(partial).mean(),
        }

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) to which an image is padded: whole cells, and as many of them in every bin."""
        coarsest = max(self.encoder.strides)
        rows, columns = (
            math.lcm(coarsest, *(self.encoder.strides[-1] * size[axis] for size in self.bins)) for axis in (0, 1)
        )
        # Only positive numbers are divided: the division of ONNX rounds towards zero.
        return (height + rows - 1) // rows * rows, (width + columns - 1) // columns * columns

    def _padded(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        bottom, right = self.padded_size(height, width)
        # The image's own edge is repeated, as `AnySize` does.
        return functional.pad(images, (0, right - width, 0, bottom - height), mode="replicate")

    def _enlarged(self, logits: Tensor, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        enlarged = functional.interpolate(logits, self.padded_size(height, width), mode="bilinear", align_corners=False)
        return enlarged[..., :height, :width]


def conv_norm(inputs: int, outputs: int) -> nn.Sequential:
    """Return a 3x3 convolution, normalised and rectified."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
