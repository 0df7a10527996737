"""What is done to a frame and its mask before training on them, with torchvision.transforms.v2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from wildseg.core.classes import IGNORE
from wildseg.encoders.cnn.imagenet import MEAN, STD


class RandomWindow(v2.Transform):
    """Cut a square window at a random place and resize it to `size` pixels.

    The window's side is ``size / zoom``, so that the result shows the frame magnified by `zoom`, drawn evenly on a
    logarithmic scale between the two limits. Where the frame is smaller than the window, the rest is grey and ignored.
    """

    def __init__(self, size: int, zoom: tuple[float, float], mean: Sequence[float] = MEAN) -> None:
        """Remember the side of the result in pixels, and the smallest and largest magnification.

        What lies outside of the frame becomes about 0 when `mean` is subtracted, of RGB in [0, 1].
        """
        super().__init__()
        self.grey = [round(255 * value) for value in mean]
        self.size = size
        self.zoom = zoom

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw side, top and left of the window; they hold for the frame and its mask alike."""
        height, width = flat_inputs[0].shape[-2:]
        side = max(1, round(self.size / math.exp(_uniform(*map(math.log, self.zoom)))))
        return {"side": side, "top": _place(height, side), "left": _place(width, side)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Cut and resize one input: an image bilinearly, a mask by nearest neighbour."""
        side, top, left = params["side"], params["top"], params["left"]
        height, width = inpt.shape[-2:]
        is_mask = isinstance(inpt, tv_tensors.Mask)
        missing = [max(-left, 0), max(-top, 0), max(left + side - width, 0), max(top + side - height, 0)]
        if any(missing):
            inpt = functional.pad(inpt, missing, fill=IGNORE if is_mask else self.grey)
        window = functional.crop(inpt, max(top, 0), max(left, 0), side, side)
        mode = v2.InterpolationMode.NEAREST_EXACT if is_mask else v2.InterpolationMode.BILINEAR
        return functional.resize(window, [self.size, self.size], interpolation=mode, antialias=True)


def augmentation(
    size: int,
    zoom: tuple[float, float],
    flip: float,
    colour: float,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> v2.Compose:
    """Return what turns (Image (3, H, W) uint8, Mask (H, W) uint8) into a training pair.

    Args:
        size: side of the square result in pixels.
        zoom: smallest and largest magnification.
        flip: probability of a left-right flip.
        colour: brightness, contrast and saturation are each multiplied by a factor in 1 +- `colour`.
            The hue stays: it is what tells many surfaces apart.
        mean: of RGB in [0, 1], subtracted.
        std: of RGB in [0, 1], divided by.

    Returns:
        A transform that yields (image (3, size, size) float32 normalised, mask (size, size) uint8); it draws from
        torch's default generator.
    """
    return v2.Compose(
        [
            RandomWindow(size, zoom, mean),
            v2.RandomHorizontalFlip(flip),
            v2.ColorJitter(brightness=colour, contrast=colour, saturation=colour),
            v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
            v2.Normalize(list(mean), list(std)),
        ]
    )


def skip(transform: v2.Compose, height: int, width: int) -> None:
    """Draw what an `augmentation` draws for a frame of this size, and compute nothing.

    The next frame then looks as it does after one that was not skipped.
    """
    frame = torch.empty(3, height, width, device="meta")  # has a size, and no pixels
    for part in transform.transforms:
        if isinstance(part, v2.RandomHorizontalFlip):
            torch.rand(1)
        else:
            part.make_params([frame])


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _place(length: int, side: int) -> int:
    # Where a window of `side` starts on an axis of `length`; negative where it sticks out on both ends of it.
    spare = length - side
    return int(torch.randint(0, abs(spare) + 1, ())) * (1 if spare >= 0 else -1)
