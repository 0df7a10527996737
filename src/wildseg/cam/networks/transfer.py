"""What the global network of L2G learns from the local one: attention, and shape by saliency (sections 3.2 and 3.3).

All maps have C + 1 channels, the background last.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

EPS = 1e-8


def attention_target(maps: Tensor, labels: Tensor) -> Tensor:
    """Return the largest channel of each cell, all others 0: attention transfer, without saliency.

    Args:
        maps: (R, C + 1, h, w) of the local network, one for each patch. Negative values become 0, each channel is
            divided by its maximum + 1e-8, and classes that are absent become 0; the background never does.
        labels: (R, C) float32 of 0 and 1, the classes of each patch.

    Returns:
        (R, C + 1, h, w) in [0, 1], without gradient. Of equal channels the first is kept.
    """
    rectified = maps.detach().relu()
    scaled = rectified / (rectified.amax((2, 3), keepdim=True) + EPS)
    known = F.pad(labels, (0, 1), value=1.0)[:, :, None, None]  # (R, C + 1, 1, 1)
    scaled = scaled * known
    return scaled * F.one_hot(scaled.argmax(1), scaled.shape[1]).movedim(3, 1)


def shape_target(
    attention: Tensor, saliency: Tensor, threshold: float, background: Literal["indicator", "value"]
) -> Tensor:
    """Return the attention target shaped by saliency: classes where it is salient, background where it is not.

    Args:
        attention: (R, C + 1, h, w) as of `attention_target`.
        saliency: (R, 1, H, W) in [0, 1] of the patches, resized to h x w by the nearest pixel.
        threshold: a class, or the background, holds a cell where its attention exceeds this.
        background: where it holds a cell, its target is 1 - saliency (``indicator``, as published for VOC), or its
            attention times that (``value``, as for COCO).

    Returns:
        (R, C + 1, h, w) in [0, 1].
    """
    held = (attention > threshold).float()
    salient = F.interpolate(saliency, attention.shape[2:], mode="nearest")
    rest = held[:, -1:] if background == "indicator" else attention[:, -1:]
    return torch.cat([held[:, :-1] * salient, rest * (1 - salient)], 1)


def at_patches(maps: Tensor, boxes: Tensor, size: torch.Size, stride: int) -> Tensor:
    """Return the global maps in each patch, on the grid of the local ones, by RoIAlign (He et al. 2017).

    Without alignment, as published: the value of a cell is read half a cell further down and right.

    Args:
        maps: (B, C + 1, h, w) of whole images.
        boxes: (R, 5) number of the image, then x1, y1, x2, y2 in pixels.
        size: h', w' of the local maps: a patch's sides divided by `stride`.
        stride: pixels per cell of both.

    Returns:
        (R, C + 1, h', w').
    """
    # Where kernels are to be deterministic, torchvision compiles a version of its own on a GPU; for one sample in each
    # cell, which is all that an adaptive number comes to here, it needs no compiler.
    eager = torch.compiler.set_stance("force_eager") if maps.is_cuda else nullcontext()
    with eager:
        return roi_align(maps, boxes.to(maps), tuple(size), 1 / stride, sampling_ratio=1, aligned=False)


def transfer_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Return the mean of (softmax(maps) - target) ** 2 over patches, channels and cells.

    Args:
        maps: (R, C + 1, h, w) of the global network, as of `at_patches`; the softmax is over channels.
        target: of the same shape.
    """
    return F.mse_loss(maps.softmax(1), target)
