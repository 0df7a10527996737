"""A second encoder beside CLIP: the features of the same pixels, by a network of timm such as DINO's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from wildseg.encoders.clip import Clip

CNN_STRIDE = 8


@dataclass(frozen=True)
class SecondEncoder:
    """Called with the pixels in front of a CLIP model, (1, 3, H, W), it returns features (1, C, h, w).

    network: returns a list of features, the coarsest last. stride: sides of its input are multiples of it; the image is
    enlarged to them, bilinearly. before, after: mean and deviation of CLIP's images and of the network's.
    """

    network: Callable[[Tensor], list[Tensor]]
    stride: int
    before: tuple[Tensor, Tensor]
    after: tuple[Tensor, Tensor]

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the features of the last stage."""
        (mean, std), (own_mean, own_std) = self.before, self.after
        own = (pixels * std + mean - own_mean) / own_std
        size = [-(-side // self.stride) * self.stride for side in own.shape[2:]]
        if list(own.shape[2:]) != size:
            own = F.interpolate(own, size, mode="bilinear", align_corners=False)
        return self.network(own)[-1]


def load(
    clip: Clip,
    root: Path,
    key: str,
    *,
    encoder: str = "tu-vit_base_patch8_224.dino",
    encoder_weights: str | None = "imagenet",
    stride: int | None = None,
    **_others: object,
) -> SecondEncoder:
    """Load the second encoder that a method's options name.

    Args:
        clip: the model whose pixels it is shown.
        root: the folder that a relative path of weights starts from.
        key: the parameter that holds the options, for error lines.
        encoder: see `wildseg.encoders.cnn.backbone.create`.
        encoder_weights: as there.
        stride: as there; None for a transformer's patch, and 8 for a CNN.

    Raises:
        DataError: a file of weights is broken.
        ModelError: there is no such encoder or set of weights, it cannot be fetched, or it does not fit.
    """
    from wildseg.encoders.cnn import backbone, published

    name, file = f"{key}.encoder", encoder_weights
    if file and file.endswith(".safetensors"):
        file = str(root / file)
    published.check(encoder, None, name)
    chosen = stride or backbone.patch_of(encoder, name) or CNN_STRIDE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same in every process
        network: Any = backbone.create(encoder, file, chosen, name).to(clip.device).eval().requires_grad_(False)
    pairs = [
        [torch.tensor(values, device=clip.device).view(3, 1, 1) for values in (own.mean, own.std)]
        for own in (clip, network.norm)
    ]
    return SecondEncoder(network, chosen, (pairs[0][0], pairs[0][1]), (pairs[1][0], pairs[1][1]))
