"""Points at which masks are compared: centres of labelled pixels, drawn at random or where a mask is undecided.

PointRend (Kirillov et al., CVPR 2020, arXiv:1912.08193, section 3.1), as Mask2Former trains with it. As the pixels of
pseudo masks may be ignored, points are not drawn from the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

OVERSAMPLING = 3  # candidates for each point
UNDECIDED = 0.75  # share of the points that are taken where the mask's logit is closest to 0


@dataclass(frozen=True)
class Frame:
    """A grid of h x w cells over an image of H x W pixels, which begins at its left upper corner.

    Attributes:
        pixels: (H, W), padding included.
        cells: (h, w).
    """

    pixels: tuple[int, int]
    cells: tuple[int, int]

    def weights(self, places: Tensor, axis: int) -> Tensor:
        """Return the shares (..., h or w) of cells in a pixel's value: bilinear, half-pixel centres, edges repeated.

        Args:
            places: (...) rows of pixels, or columns, int64.
            axis: 0 for rows, 1 for columns.
        """
        size, cells = self.pixels[axis], self.cells[axis]
        at = ((torch.arange(size, device=places.device) + 0.5) * cells / size - 0.5).clamp(0, cells - 1)
        distances = (at[:, None] - torch.arange(cells, device=places.device)).abs()
        return (1 - distances).clamp(min=0)[places]


def sample(maps: Tensor, points: Tensor, frame: Frame) -> Tensor:
    """Return the values (M, P) at pixels of maps (M, h, w), as if these were enlarged bilinearly to the pixels.

    They are products of matrices, whose gradients are the same bytes in every run.

    Args:
        maps: logits, or any numbers.
        points: (M, P, 2) rows and columns of pixels.
        frame: of maps and pixels.
    """
    rows = frame.weights(points[..., 0], 0) @ maps  # (M, P, w)
    return (rows * frame.weights(points[..., 1], 1)).sum(-1)


@torch.no_grad()
def look_up(maps: Tensor, points: Tensor, frame: Frame) -> Tensor:
    """Return the values of `sample` without a gradient, for a fraction of its time.

    Args:
        maps: (M, h, w).
        points: (M, P, 2), or (1, P, 2) where all maps have the same.
        frame: of maps and pixels.
    """
    size = points.new_tensor(frame.pixels)
    places = ((2 * points + 1) / size - 1).flip(-1).to(maps.dtype)  # columns first, from -1 to 1
    shared = len(points) == 1
    values = functional.grid_sample(
        maps[None] if shared else maps[:, None], places[:, None], padding_mode="border", align_corners=False
    )
    return values[0, :, 0] if shared else values[:, 0, 0]


def draw(labelled: Tensor, masks: int, number: int) -> Tensor:
    """Return points (masks, number, 2), rows and columns, drawn from labelled pixels with replacement.

    Args:
        labelled: (L, 2) rows and columns of at least one pixel.
        masks: M.
        number: P.
    """
    return labelled[torch.randint(len(labelled), (masks, number), device=labelled.device)]


@torch.no_grad()
def draw_undecided(logits: Tensor, labelled: Tensor, number: int, frame: Frame) -> Tensor:
    """Return points (M, number, 2), most of them where the logits (M, h, w) of a mask are closest to 0."""
    candidates = draw(labelled, len(logits), OVERSAMPLING * number)
    closest = int(UNDECIDED * number)
    chosen = look_up(logits, candidates, frame).abs().topk(closest, 1, largest=False).indices
    undecided = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat([undecided, draw(labelled, len(logits), number - closest)], 1)
