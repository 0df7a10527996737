"""The frozen CLIP of a side adapter network: its image tower, its temperature, and the digest that identifies it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wildseg.core.errors import ModelError
from wildseg.encoders import clip, vit
from wildseg.encoders.clip import Clip
from wildseg.segment.san.recognition import Tower

# The sentences for a class that the authors take from ViLD (Gu et al., ICLR 2022).
SIZES = ("small", "medium", "large")
TEMPLATES = (
    "a photo of a {}.", "This is a photo of a {}", "There is a {} in the scene", "There is the {} in the scene",
    "a photo of a {} in the scene",
    *(f"a photo of a {size} {{}}." for size in SIZES),
    *(f"This is a photo of a {size} {{}}." for size in SIZES),
    *(f"There is a {size} {{}} in the scene." for size in SIZES),
)  # fmt: skip


def load_clip(model: str, pretrained: str | None, key: str = "train.encoder") -> Clip:
    """Load an open_clip model by its name, and a tag or a .safetensors file; see `wildseg.encoders.clip.load`.

    Raises:
        ModelError: it does not exist, cannot be had, or is of another kind; `key` is the parameter that names it.
    """
    if pretrained is None or pretrained.endswith((".pt", ".pth", ".bin")):
        raise ModelError(
            f"{key}_weights: san runs beside a CLIP, whose name and weights {key} and {key}_weights are, such as those "
            f"of the section clip; expected a tag of open_clip, or a .safetensors file; found {pretrained!r}"
        )
    try:
        return clip.load(model, pretrained)
    except ModelError as error:
        text = str(error).replace("clip.model", key).replace("clip.pretrained", f"{key}_weights")
        raise ModelError(text) from error


@dataclass(frozen=True)
class FrozenClip:
    """The image tower of a CLIP, which is neither trained nor saved.

    Attributes:
        name: of the model.
        visual: an open_clip vision transformer that pools by its class token.
        scale: what a cosine is multiplied with.
        digest: SHA-256 of the tower's weights, (32,) uint8.
    """

    name: str
    visual: Any
    scale: float
    digest: Tensor

    @classmethod
    def of(cls, model: Clip, key: str = "train.encoder") -> FrozenClip:
        """Take the tower of a model; `key` is the parameter that names it, for error lines.

        Raises:
            ModelError: it has no vision transformer with a class token.
        """
        visual = model.network.visual
        reason = vit.unsupported_reason(visual)
        if reason is None and visual.pool_type != "tok":
            reason = "its image tower pools by a mean, not by its class token"
        if reason:
            raise ModelError(
                f"{key}: san needs a CLIP whose vision transformer has a class token, and {model.name} has none: "
                f"{reason}; take one such as ViT-B-16-quickgelu"
            )
        return cls(model.name, visual, model.scale, tower_digest(visual))

    @property
    def hexdigest(self) -> str:
        """The digest in hexadecimal digits."""
        return bytes(self.digest.tolist()).hex()

    @property
    def depth(self) -> int:
        """The number of blocks."""
        return len(self.visual.transformer.resblocks)

    @property
    def heads(self) -> int:
        """The heads of an attention."""
        return int(self.visual.transformer.resblocks[0].attn.num_heads)

    @property
    def width(self) -> int:
        """The channels of a token."""
        return int(self.visual.conv1.out_channels)

    @property
    def features(self) -> int:
        """The channels of the space shared with texts."""
        return int(self.width if self.visual.proj is None else self.visual.proj.shape[1])

    def tower(self, positions: Tensor) -> Tower:
        """Return the tower with another position embedding, (1 + h*w, D) of the native grid."""
        return Tower(self.visual, positions)


def tower_digest(visual: nn.Module) -> Tensor:
    """Return the SHA-256 of names, shapes and values of all weights: (32,) uint8."""
    digest = hashlib.sha256()
    for name, value in sorted(visual.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).clone()
