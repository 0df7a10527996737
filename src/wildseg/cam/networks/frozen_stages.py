"""Training of the last stages of a backbone alone, as if the output of the stage before them was detached."""

from __future__ import annotations

import torch
from torch import nn

CELLS = 2  # of the coarsest stage, on a side of the image that finds out which parameters a stage depends on


def freeze_early_stages(backbone: nn.Module, trained: int, stride: int) -> None:
    """Freeze every parameter that the features before the last `trained` stages depend on.

    Gradients, and so training, are those of a network whose features are detached there, but cost less.

    Args:
        backbone: from images (B, 3, H, W) to the features of each stage, from the finest to the coarsest.
        trained: stages that are trained; where a backbone has no more, nothing is frozen.
        stride: pixels of an image per cell of its coarsest stage.
    """
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()  # the statistics of normalisations stay
    try:
        with torch.enable_grad():
            like = next(backbone.parameters())
            features = backbone(torch.zeros(1, 3, CELLS * stride, CELLS * stride, device=like.device, dtype=like.dtype))
            if trained >= len(features):
                return
            before = features[-trained - 1].sum()
            gradients = torch.autograd.grad(before, parameters, allow_unused=True)
    finally:
        for module, mode in modes:
            module.training = mode
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.requires_grad_(False)
