"""Global sampling and anatomy of C-CAM (Chen et al. 2022): how often each place of a frame shows each class.

Places are cells of one square grid that all frames are resized to, so frames must be registered: the same place has to
mean the same thing in each, as in medical slices or in the picture of a camera that does not move. Everything is
counted from pseudo masks; no truth is read.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocationPrior(nn.Module):
    """The share of frames in which each place shows each class; its buffers are saved with the networks.

    Attributes:
        probability: (C + 1, S, S) float32, background first: ``M_GC[c](u) = (1 + n_c(u)) / N`` with n_c(u) the frames
            whose mask of c contains u, of N. The counter starts from one, so a place that is always active has
            1 + 1 / N.
        frames: (C + 1,) int64, N and the number of frames whose mask of each class is not empty.
    """

    probability: Tensor
    frames: Tensor

    def __init__(self, num_classes: int, side: int) -> None:
        """Start without frames, for C classes on a grid of `side` x `side` places."""
        super().__init__()
        self.register_buffer("probability", torch.ones(num_classes + 1, side, side))
        self.register_buffer("frames", torch.zeros(num_classes + 1, dtype=torch.int64))

    @property
    def side(self) -> int:
        """The places S of a side."""
        return self.probability.shape[-1]

    @property
    def dictionary(self) -> Tensor:
        """The priors of the classes, (C, S, S): the confounders that the causal predictor attends to."""
        return self.probability[1:]

    def sample(self, masks: Iterable[Tensor]) -> None:
        """Count the masks of all frames anew (global sampling).

        Args:
            masks: (C, H, W) bool of each frame, background being where none is set; of any size, which is brought to
                the grid by nearest neighbours.

        Raises:
            ValueError: there are none.
        """
        counts = torch.ones(self.probability.shape, dtype=torch.int64)
        frames = torch.zeros(len(self.frames), dtype=torch.int64)
        for mask in masks:
            mask = _nearest(mask.cpu(), self.side)
            counts[0] += ~mask.any(0)
            counts[1:] += mask
            frames[0] += 1
            frames[1:] += mask.any(2).any(1)
        if not frames[0]:
            raise ValueError("expected the masks of at least one frame, found none")
        self.probability.copy_(counts / frames[0])
        self.frames.copy_(frames)

    def anatomy(self, min_share: float = 0.0) -> Tensor:
        """Return where each class may be: (C, S, S) of 0 and 1 (the indicator M_S of the anatomy-causality chain).

        A class without a mask in any frame may be everywhere.

        Args:
            min_share: a place counts where more than this share of the class's frames has it in the mask; 0, as
                published, takes every place that one frame is enough for.
        """
        active = (self.dictionary * self.frames[0] - 1).round()  # n_c(u)
        known = self.frames[1:, None, None]
        return ((active > min_share * known) | (known == 0)).float()


def _nearest(mask: Tensor, side: int) -> Tensor:
    if mask.shape[1:] == (side, side):
        return mask
    return F.interpolate(mask[None].float(), (side, side), mode="nearest")[0].bool()
