"""An image-text model of the CLIP family behind two questions: what is in these images, what do these words mean.

Wraps any open_clip model (Radford et al. 2021; Zhai et al. 2023 for those with a logit bias). Features have unit
length; the logit of an image and a text is ``scale * cosine + bias``. Always float32: maps made of tiny gradients
are not reliable in half precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from wildseg.core.errors import ModelError
from wildseg.encoders import captions, loading, resnet, vit
from wildseg.encoders.prompts import sentences
from wildseg.encoders.resnet import ResNet
from wildseg.encoders.vit import ViT

if TYPE_CHECKING:
    from wildseg.encoders.params import Clip as ClipParams


def load(model: str, pretrained: str, *, device: str = "cpu", root: Path | str = ".") -> Clip:
    """Load an open_clip model by name and tag, or from a local file of weights.

    Args:
        model: an open_clip name such as ``ViT-B-16-quickgelu``, or the name of a ``<model>.json`` beside the file.
        pretrained: a tag such as ``openai``, or a ``.safetensors``, ``.pt`` or ``.bin`` file, relative to `root`.
        device: a torch device.
        root: the project folder.

    Raises:
        ModelError: no such model, tag or file, weights that do not fit, or nothing to be had without a network.
    """
    built = loading.build(model, pretrained, Path(root))
    mean, std = built.preparation["mean"], built.preparation["std"]
    file = loading.as_file(pretrained, Path(root))
    region_trained = file is not None and captions.declares_region_captions(file)
    return Clip(model, built.network.float().to(device), built.tokenizer, mean, std, region_trained, built.notes)


def load_chosen(params: ClipParams, *, device: str = "cpu", root: Path | str = ".") -> Clip:
    """Load the model that the section clip names; see `load`."""
    return load(params.model, params.pretrained, device=device, root=root)


@dataclass(frozen=True)
class Clip:
    """A frozen model in evaluation mode.

    mean, std: of its images, RGB in [0, 1]. region_trained: it was trained on captions of regions, so that its class
    token can be shown a part of the patches. notes: for the user, on the interpretation of a local file.
    """

    name: str
    network: Any  # an open_clip model
    tokenizer: Any
    mean: Sequence[float]
    std: Sequence[float]
    region_trained: bool = False
    notes: tuple[str, ...] = ()
    _sentences: dict[tuple[object, ...], Tensor] = field(default_factory=dict, repr=False, compare=False)
    _classifiers: dict[tuple[object, ...], Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Freeze the weights; gradients are enabled where they are needed."""
        self.network.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.network.logit_scale.device

    @property
    def size(self) -> tuple[int, int]:
        """The native input size (H, W) in pixels."""
        size = self.network.visual.image_size
        return (size, size) if isinstance(size, int) else tuple(size)

    @property
    def scale(self) -> float:
        """What a cosine is multiplied with."""
        return float(self.network.logit_scale.detach().exp())

    @property
    def bias(self) -> float | None:
        """What is added to a logit; None for models trained with a softmax."""
        bias = getattr(self.network, "logit_bias", None)
        return None if bias is None else float(bias.detach())

    def tower(self, pos_embed_interpolation: str = "bicubic") -> ViT | ResNet:
        """Return the image tower, to be read up to its target layer and on from there.

        Args:
            pos_embed_interpolation: how position embeddings are brought to other grids, see
            `wildseg.encoders.positions.resample`.

        Raises:
            ModelError: the tower is neither a vision transformer nor a ResNet of open_clip's own.
        """
        visual = self.network.visual
        if vit.unsupported_reason(visual) is None:
            return ViT(visual, pos_embed_interpolation)
        if resnet.unsupported_reason(visual) is None:
            return ResNet(visual, pos_embed_interpolation)
        raise ModelError(
            f"clip.model: activation maps need a vision transformer or a ResNet of CLIP's; {self.name} has neither: "
            f"{vit.unsupported_reason(visual)}; take one such as ViT-B-16 or RN50"
        )

    @cached_property
    def vit(self) -> ViT:
        """The image tower, to be read block by block.

        Raises:
            ModelError: the tower is not a vision transformer of open_clip's own.
        """
        if reason := vit.unsupported_reason(self.network.visual):
            raise ModelError(
                f"clip.model: tiles by attention need a vision transformer; {self.name} has none: {reason}; take one "
                "such as ViT-B-16"
            )
        return ViT(self.network.visual)

    def pixels(self, images: Sequence[np.ndarray]) -> Tensor:
        """Turn images of one size, (H, W, 3) uint8 RGB each, into the network's input (B, 3, H, W)."""
        batch = torch.from_numpy(np.stack(images)).to(self.device).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v, device=self.device).view(3, 1, 1) for v in (self.mean, self.std))
        return (batch - mean) / std

    @torch.no_grad()
    def image_features(self, pixels: Tensor) -> Tensor:
        """Return unit features (B, d) of pixels (B, 3, H, W) at the native size."""
        return self.differentiable_features(pixels)

    def differentiable_features(self, pixels: Tensor) -> Tensor:
        """Return `image_features`, through which gradients reach the pixels, while the weights stay as they are."""
        if (
            vit.unsupported_reason(self.network.visual) is None
            or resnet.unsupported_reason(self.network.visual) is None
        ):
            return F.normalize(self.tower().features(pixels), dim=-1)
        return self.network.encode_image(pixels, normalize=True)

    @torch.no_grad()
    def region_features(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Return unit features (B, R, d) of regions of pixels (B, 3, H, W) at the native size, in one pass.

        Args:
            pixels: see `pixels`.
            regions: (R, h*w) bool on the native grid; see `ViT.region_features`.
        """
        return F.normalize(self.vit.region_features(pixels, regions), dim=-1)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return unit features (n, d) of sentences; warns of those longer than the model reads."""
        self._check_length(texts)
        features = [
            self.network.encode_text(self.tokenizer(list(texts[start : start + 64])).to(self.device), normalize=True)
            for start in range(0, len(texts), 64)
        ]
        return torch.cat(features)

    def sentence_features(self, phrases: Sequence[Sequence[str]], templates: Sequence[str]) -> Tensor:
        """Return the unit features of each class in each template, (C, T, d).

        Args:
            phrases: for each class its synonyms, which share a sentence.
            templates: sentences with one ``{}``.
        """
        key = (tuple(map(tuple, phrases)), tuple(templates))
        if key not in self._sentences:
            texts = [sentence for own in phrases for sentence in sentences(own, templates)]
            self._sentences[key] = self.text_features(texts).unflatten(0, (len(phrases), len(templates)))
        return self._sentences[key]

    def classifier(self, phrases: Sequence[Sequence[str]], templates: Sequence[str]) -> Tensor:
        """Return one unit text vector per class, the mean over templates of unit sentence features: (C, d).

        Args:
            phrases: for each class its synonyms, which share a sentence.
            templates: sentences with one ``{}``.
        """
        key = (tuple(map(tuple, phrases)), tuple(templates))
        if key not in self._classifiers:  # the same texts serve every frame
            self._classifiers[key] = F.normalize(self.sentence_features(*key).mean(1), dim=-1)
        return self._classifiers[key]

    def logits(self, features: Tensor, texts: Tensor) -> Tensor:
        """Return ``scale * cosine + bias``: (B, C) for image features (B, d) and text features (C, d), both unit."""
        return features @ texts.T * self.scale + (self.bias or 0.0)

    def _check_length(self, texts: Sequence[str]) -> None:
        longest = getattr(self.tokenizer, "context_length", None)
        if longest is None or not hasattr(self.tokenizer, "sot_token_id"):
            return
        for text in texts:
            if len(self.tokenizer.encode(text)) > longest - 2:
                warnings.warn(
                    f"classes: {self.name} reads {longest - 2} tokens of a sentence and cuts off the end of {text!r}",
                    stacklevel=3,
                )


def resize(
    image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resize (H, W, 3) uint8 to `size` (H', W'): bicubic, anti-aliased, rounded to uint8, as CLIP was trained.

    Args:
        image: (H, W, 3) uint8.
        size: the new (height, width).
        box: the part of the image to take, as left, top, right, bottom in pixels; None for all of it.
    """
    height, width = size
    if box is None and image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box))
