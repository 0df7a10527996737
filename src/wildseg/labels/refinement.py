"""Dual-masking attention refinement (TagCLIP, Lin et al. 2024, section 3.2): patch scores spread along attention.

``P' = (A * M) P`` with A the attention between patches, averaged over some blocks, and two masks. M keeps pairs of
patches that several blocks find related, each by an attention above its own mean. A mask per class keeps only sources
inside boxes around what a first refinement marks strongly, while any patch may receive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from wildseg.cam.affinity import boxes
from wildseg.encoders.attention import AttentionRecorder


@dataclass
class VotingRecorder(AttentionRecorder):
    """A watch that also counts votes: for each pair of patches the blocks whose attention exceeds that block's mean.

    votes: (N, N) uint8, for one image at a time.
    """

    votes: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.uint8))

    def needs_weights(self, block: int) -> bool:
        """Say that every block votes."""
        return True

    def accumulate(self, block: int, weights: Tensor) -> None:
        """Count the votes of a block, (1, T, T) with the class token first, and add it to the mean."""
        patches = weights[0, 1:, 1:]
        # The mean in double precision: where all attention is the same, none exceeds it.
        related = patches > patches.mean(dtype=torch.float64).to(patches.dtype)
        self.votes = self.votes + related
        super().accumulate(block, weights)

    def attention(self, needed: int) -> Tensor:
        """Return the mean over `averaged` blocks where at least `needed` blocks vote for it, else 0: (N, N)."""
        if self.mean is None:
            raise ValueError(f"expected to have seen the blocks {list(self.averaged)}, saw none of them")
        return self.mean[0, 1:, 1:] * (self.votes >= needed)


def refine(coarse: Tensor, attention: Tensor, grid: tuple[int, int], clip_boxes: bool = False) -> Tensor:
    """Return refined scores of patches, (N, C), not negative.

    Args:
        coarse: (N, C) in [0, 1].
        attention: (N, N), not negative, see `VotingRecorder.attention`.
        grid: (h, w) with h * w = N.
        clip_boxes: see `wildseg.cam.affinity.boxes`.
    """
    maps = min_max(attention @ coarse).T.unflatten(-1, grid)  # (C, h, w)
    inside = [boxes(own[None], float(own.mean()), clip_boxes)[0] for own in maps]
    # Masking columns of the attention equals masking what it is applied to.
    return attention @ (coarse * torch.stack(inside).flatten(1).T)


def min_max(columns: Tensor) -> Tensor:
    """Return each column of (N, C) stretched to [0, 1]; one that is the same everywhere becomes 0."""
    low, high = columns.amin(0), columns.amax(0)
    return (columns - low) / torch.where(high > low, high - low, 1)


def bounding_box(mask: Tensor, clip_edges: bool = False) -> tuple[int, int, int, int] | None:
    """Return (top, left, bottom, right) of what is true in a mask (h, w), ends exclusive; None where there is none.

    clip_edges: end before the last row and column, as the published code does even where the object reaches them.
    """
    height, width = mask.shape
    rows, columns = mask.any(1).nonzero()[:, 0].tolist(), mask.any(0).nonzero()[:, 0].tolist()
    if not rows:
        return None
    bottom, right = rows[-1] + 1, columns[-1] + 1
    if clip_edges:
        bottom, right = min(bottom, height - 1), min(right, width - 1)
    return None if bottom <= rows[0] or right <= columns[0] else (rows[0], columns[0], bottom, right)
