"""Which proposed mask stands for which class of an image: the cheapest assignment, each class to one mask.

Carion et al., ECCV 2020 (arXiv:2005.12872), with the costs of Mask2Former (Cheng et al., CVPR 2022, arXiv:2112.01527).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Weights:
    """Factors of costs and losses, with their published values.

    Attributes:
        classes: of the cross entropy of a mask's class; its cost is the negative probability.
        masks: of the binary cross entropy of a mask's pixels.
        dice: of the dice loss of a mask.
        no_object: of masks that stand for no class, within the cross entropy.
    """

    classes: float = 2.0
    masks: float = 5.0
    dice: float = 5.0
    no_object: float = 0.1


@torch.no_grad()
def costs(classes: Tensor, masks: Tensor, present: Tensor, target: Tensor, weights: Weights) -> Tensor:
    """Return the cost (Q, M) of each pair of a proposal and a class of one image.

    Args:
        classes: (Q, K + 1) logits; the last is that of no object.
        masks: (Q, P) logits at points.
        present: (M,) ids of classes.
        target: (M, P) 0 or 1, whether a point is of the class.
        weights: of the three costs.
    """
    of_class = -classes.softmax(-1)[:, present]
    yes, no = functional.softplus(-masks), functional.softplus(masks)  # the cross entropy where the target is 1, 0
    of_pixels = (yes @ target.T + no @ (1 - target).T) / masks.shape[1]
    probability = masks.sigmoid()
    overlap = 2 * probability @ target.T + 1
    of_dice = 1 - overlap / (probability.sum(1)[:, None] + target.sum(1)[None] + 1)
    return weights.classes * of_class + weights.masks * of_pixels + weights.dice * of_dice


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and columns, (min(Q, M),) int64 each, of the pairs whose costs (Q, M) have the least sum."""
    rows, columns = linear_sum_assignment(cost.double().cpu().numpy())
    return torch.from_numpy(rows).to(cost.device), torch.from_numpy(columns).to(cost.device)
