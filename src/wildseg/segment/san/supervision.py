"""The set loss of mask classification: classes of all proposals, and pixels of those that stand for a class.

Mask2Former (Cheng et al., CVPR 2022, arXiv:2112.01527, section 3.3), from a mask of ids: one target mask for each class
in an image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wildseg.core.classes import IGNORE
from wildseg.segment.san.matching import Weights, assign, costs
from wildseg.segment.san.points import Frame, draw, draw_undecided, look_up, sample


@dataclass(frozen=True)
class Proposals:
    """Masks and their classes, of a batch.

    Attributes:
        classes: (B, Q, K + 1) logits; the last is that of no object.
        masks: (B, Q, h, w) logits.
    """

    classes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class _Matched:
    """The proposals of one image that stand for a class: their places, ids, and pixels at points of their own."""

    places: Tensor  # (M,)
    ids: Tensor  # (M,)
    logits: Tensor  # (M, P)
    target: Tensor  # (M, P) 0 or 1


@dataclass(frozen=True)
class SetLoss:
    """The set loss for one run.

    Attributes:
        weights: of the terms.
        points: P, for matching and for each mask's losses.
        pixels: (H, W) of the images with their padding, which the masks cover.
        factors: (K,) of each id in the cross entropy, or None for 1.
        total: sums a tensor over all processes, see `wildseg.segment.objective.Criterion`.
    """

    weights: Weights
    points: int
    pixels: tuple[int, int]
    factors: Tensor | None
    total: Callable[[Tensor], Tensor]

    def __call__(self, proposals: Proposals, target: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms ``classes``, ``masks`` and ``dice`` of proposals against ids (B, H, W), 255 ignore.

        An image without a labelled pixel has no part in them.
        """
        classes, masks = proposals.classes.float(), proposals.masks.float()
        none = classes.shape[-1] - 1
        ids = torch.full(classes.shape[:2], IGNORE, device=classes.device)
        matched = []
        for image, mask in enumerate(target):
            if bool((mask != IGNORE).any()):
                matched.append(self._match(classes[image], masks[image], mask))
                ids[image] = none
                ids[image, matched[-1].places] = matched[-1].ids
        number = self.total(classes.new_tensor(sum(len(found.ids) for found in matched))).clamp(min=1)
        zero = masks.sum() * 0  # a batch without a labelled pixel still has a gradient
        pixels = [binary_cross_entropy(found.logits, found.target).sum() for found in matched]
        overlaps = [dice(found.logits, found.target).sum() for found in matched]
        return {
            "classes": self.weights.classes * self._classes(classes, ids),
            "masks": self.weights.masks * (sum(pixels, zero) / number),
            "dice": self.weights.dice * (sum(overlaps, zero) / number),
        }

    def _match(self, classes: Tensor, masks: Tensor, mask: Tensor) -> _Matched:
        frame = Frame(self.pixels, (masks.shape[1], masks.shape[2]))
        labelled = (mask != IGNORE).nonzero()  # (L, 2)
        present = mask[mask != IGNORE].unique()
        points = draw(labelled, 1, self.points)
        with torch.no_grad():
            values = look_up(masks, points, frame)
            wanted = _at(mask, points) == present[:, None]
            places, order = assign(costs(classes, values, present, wanted.float(), self.weights))
        ids, own = present[order], masks[places]
        points = draw_undecided(own, labelled, self.points, frame)
        return _Matched(places, ids, sample(own, points, frame), (_at(mask, points) == ids[:, None]).float())

    def _classes(self, classes: Tensor, ids: Tensor) -> Tensor:
        """Return the weighted mean over proposals of the cross entropy of classes (B, Q, K + 1), ids 255 left out."""
        factors = classes.new_ones(classes.shape[-1])
        if self.factors is not None:
            factors[:-1] = self.factors
        factors[-1] = self.weights.no_object
        summed = functional.cross_entropy(
            classes.flatten(0, 1), ids.flatten(), factors, ignore_index=IGNORE, reduction="sum"
        )
        mass = self.total(factors[ids[ids != IGNORE]].sum())
        return summed / torch.where(mass > 0, mass, 1)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return (M,), the mean over points of the binary cross entropy of logits (M, P) and 0 or 1."""
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Return (M,), ``1 - (2 sum p t + 1) / (sum p + sum t + 1)`` over points of logits (M, P) and 0 or 1."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * target).sum(1) + 1
    return 1 - overlap / (probability.sum(1) + target.sum(1) + 1)


def _at(mask: Tensor, points: Tensor) -> Tensor:
    return mask[points[..., 0], points[..., 1]]
