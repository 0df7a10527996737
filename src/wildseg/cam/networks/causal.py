"""The category-causality chain of C-CAM (Chen et al. 2022): a classifier that also sees where classes usually are.

What always appears together with a class, such as the body around an organ, confounds a classifier that only knows
labels. The chain adjusts for it: the priors of all classes' places, the confounders, are weighted by how well they go
with the coarse mask of the image, and their sum joins the features as one more channel.

Published is the case of one class. Then the softmax over classes is 1, the channel is the prior itself in every image,
and neither the coarse mask nor the weights of query and key have any influence.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INIT_STD = 0.02  # of the query's and the key's weights; their biases start at 0


class CausalPredictor(nn.Module):
    """Attention of a coarse mask over a dictionary of location priors.

    With the mask ``y`` (flattened), the priors ``Z_c`` and d the embedding size::

        q = W_y y + b_y    k_c = W_z Z_c + b_z    A = softmax_c(q . k_c / sqrt d)    M = sum_c A_c P(c) Z_c

    with the uniform ``P(c) = 1 / C``.
    """

    def __init__(self, side: int, embedding: int = 1) -> None:
        """Build query and key for masks of `side` x `side` places.

        Args:
            side: S.
            embedding: d.
        """
        super().__init__()
        self.query = nn.Linear(side * side, embedding)
        self.key = nn.Linear(side * side, embedding)
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=INIT_STD)
            nn.init.zeros_(layer.bias)

    def attention(self, masks: Tensor, dictionary: Tensor) -> Tensor:
        """Return the weights A (B, C) of the classes' priors for each mask; a row sums to 1."""
        queries, keys = self.query(masks.flatten(1)), self.key(dictionary.flatten(1))
        return (queries @ keys.T / math.sqrt(queries.shape[1])).softmax(1)

    def forward(self, masks: Tensor, dictionary: Tensor) -> Tensor:
        """Return the context M of each image.

        Args:
            masks: (B, S, S) float32 of 0 and 1, the places where the image shows any class.
            dictionary: (C, S, S) float32, the priors of the classes.

        Returns:
            (B, S, S) float32.
        """
        # A query sums up to S * S numbers: too many for half precision.
        with torch.autocast(masks.device.type, enabled=False):
            weights = self.attention(masks, dictionary) / len(dictionary)
            return torch.einsum("bc,chw->bhw", weights, dictionary)


class CausalNet(nn.Module):
    """A classifier on a backbone's features and the context M: maps by a 1x1 convolution, logits by their means."""

    def __init__(self, backbone: nn.Module, channels: int, num_classes: int, side: int, embedding: int = 1) -> None:
        """Put predictor and head behind `backbone`, whose last stage has so many channels D.

        Args:
            backbone: from images to the features of its stages.
            channels: D.
            num_classes: C.
            side: places of a side of masks and priors.
            embedding: size of query and key.
        """
        super().__init__()
        self.backbone = backbone
        self.predictor = CausalPredictor(side, embedding)
        self.classifier = nn.Conv2d(channels + 1, num_classes, 1, bias=False)

    def class_maps(self, pixels: Tensor, masks: Tensor, dictionary: Tensor) -> Tensor:
        """Return class maps (B, C, h, w) of images (B, 3, H, W); for masks and dictionary see `CausalPredictor`."""
        features = self.backbone(pixels)[-1]
        context = self.predictor(masks, dictionary)[:, None]
        context = F.interpolate(context, features.shape[2:], mode="bilinear", align_corners=False)
        return self.classifier(torch.cat([features, context.to(features)], 1))  # (B, D + 1, h, w) -> (B, C, h, w)

    def forward(self, pixels: Tensor, masks: Tensor, dictionary: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return self.class_maps(pixels, masks, dictionary).mean((2, 3))
