"""A backbone: an encoder by itself, whose stages give features, with an output stride that dilation holds back.

Dilation in place of strides is that of DeepLab (Chen et al. 2017, arXiv:1706.05587, section 3.1).
"""

from __future__ import annotations

import math
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch

from wildseg.core.errors import ModelError
from wildseg.encoders.cnn import build, normalisation, published, resnet38
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.encoders.cnn.published import TIMM
from wildseg.encoders.cnn.resnet38 import ResNet38

DEEPEST = 5  # segmentation-models-pytorch knows up to five halvings


class Backbone(torch.nn.Module):
    """Features of all stages of an encoder, for images of any size.

    Attributes:
        encoder: the network.
        channels: of each stage's features, from the finest to the coarsest.
        strides: pixels of the image per cell of each stage, in the same order.
        norm: mean and deviation of the images that the encoder expects.
    """

    def __init__(self, encoder: torch.nn.Module, name: str, stride: int, norm: Normalisation, key: str) -> None:
        """Put a backbone around an encoder, see `create`."""
        super().__init__()
        self.encoder = encoder
        self.norm = norm
        outputs, side = build.probe(encoder, name, key)
        # An encoder may give the image itself, and stages without channels where it has none of that stride.
        self._stages = [i for i, x in enumerate(outputs) if x.shape[1] and not (i == 0 and _is_image(x, side))]
        self.channels = tuple(outputs[i].shape[1] for i in self._stages)
        self.strides = tuple(round(side / outputs[i].shape[2]) for i in self._stages)
        last = outputs[-1].shape[2:]
        if self.strides[-1] != stride or last != (side // stride, side // stride):
            why = ", its patch" if isinstance(encoder, PatchEncoder) else ""
            raise ModelError(f"{key}: expected an encoder with an output stride of {stride}, that of {name} is "
                             f"{side / last[0]:g}{why}")  # fmt: skip

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each stage, from the finest to the coarsest: (B, channels[i], h, w).

        Args:
            pixels: (B, 3, H, W), normalised by `norm`; each side a multiple of the coarsest stride.
        """
        outputs = self.encoder(pixels)
        return [outputs[i] for i in self._stages]


class PatchEncoder(torch.nn.Module):
    """A vision transformer of timm: the grid of its patches' tokens after the last block and its norm.

    Attributes:
        network: its name.
        patch: side of a patch in pixels.
        model: the transformer, without its head.
    """

    def __init__(self, network: str, patch: int, **options: Any) -> None:  # noqa: ANN401
        """Build the transformer `network` of timm, with `options` of `timm.create_model`."""
        super().__init__()
        self.network = network
        self.patch = patch
        transformer: Any = timm.create_model(network, **options)
        transformer.prune_intermediate_layers(1, prune_norm=False, prune_head=True)
        self.model = transformer

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return one stage: (B, C, H / patch, W / patch) of images (B, 3, H, W).

        Raises:
            ModelError: a side of the images is no multiple of the patch.
        """
        height, width = pixels.shape[2:]
        if height % self.patch or width % self.patch:
            raise ModelError(
                f"expected images whose sides are multiples of {self.patch} pixels, the patch of "
                f"{self.network}; found {width}x{height}"
            )
        return list(self.model.forward_intermediates(pixels, indices=1, norm=True, intermediates_only=True))


def create(name: str, weights: str | None, stride: int, key: str = published.KEY) -> Backbone | ResNet38:
    """Build an encoder by itself.

    Args:
        name: any encoder of segmentation-models-pytorch, ``tu-`` and the name of a network of timm, or ``resnet38``. A
            vision transformer has one stage, whose stride is its patch.
        weights: None (random), a published set such as ``imagenet``, or a local .safetensors file; of resnet38 also a
            .pth file.
        stride: pixels of the image per cell of the last stage: 8, 16 or 32 (what lies deeper is dilated instead), or
            the patch of a vision transformer.
        key: the parameter that names the encoder, for error lines; `<key>_weights` names its weights.

    Raises:
        DataError: what lies beside a file of weights is broken.
        ModelError: there is no such encoder or set of weights, it cannot be fetched, it does not fit, or the encoder
            does not have that stride.
    """
    if name == resnet38.NAME:
        return resnet38.create(weights, stride, key)
    published.check(name, None, key)
    norm = normalisation.of(name, weights, key)
    reductions = _reductions(name, key)
    patch = _patch(reductions)

    def network(encoder_name: str, encoder_weights: str | bool | None, **options: Any) -> Backbone:  # noqa: ANN401
        if patch:
            transformer = encoder_name.removeprefix(TIMM)
            encoder: torch.nn.Module = PatchEncoder(
                transformer, patch, pretrained=encoder_weights is not None, **options
            )
        else:
            encoder = _pyramid(encoder_name, encoder_weights, stride, reductions[-1], key, options)
        return Backbone(encoder, name, stride, norm, key)

    return build.create(network, name, weights, key)


def patch_of(name: str, key: str = published.KEY) -> int | None:
    """Return the patch of a vision transformer, in pixels; None for an encoder of several strides.

    Args:
        name: of an encoder that exists.
        key: the parameter that names it, for error lines.

    Raises:
        ModelError: it has no stages that give features.
    """
    return _patch(_reductions(name, key))


def _patch(reductions: list[int]) -> int | None:
    return reductions[-1] if len(reductions) > 1 and len(set(reductions)) == 1 else None


def _pyramid(
    name: str, weights: str | bool | None, stride: int, coarsest: int, key: str, options: dict[str, Any]
) -> torch.nn.Module:
    """Build an encoder of several stages; `coarsest` is the stride of its last one where nothing is dilated."""
    most = {"depth": min(DEEPEST, round(math.log2(coarsest)))}
    if stride >= coarsest:
        return smp.encoders.get_encoder(name, weights=weights, **most, **options)
    try:
        return smp.encoders.get_encoder(name, weights=weights, output_stride=stride, **most, **options)
    except Exception as error:
        # Whether dilation or the weights are at fault shows without either.
        build.without_numbers(lambda: smp.encoders.get_encoder(name, weights=None, **most))
        try:
            build.without_numbers(lambda: smp.encoders.get_encoder(name, weights=None, output_stride=stride, **most))
        except Exception:
            raise ModelError(
                f"{key}: {name} cannot be dilated to an output stride of {stride}; its own is {coarsest}"
            ) from error
        raise


def _reductions(name: str, key: str) -> list[int]:
    """Return the strides of an encoder's stages, as they are without dilation."""
    if not name.startswith(TIMM):
        return [2**i for i in range(1, DEEPEST + 1)]
    network = published.split(name)[0]
    try:
        features: Any = build.without_numbers(lambda: timm.create_model(network, features_only=True))
    except Exception as error:  # networks that have no stages fail in as many ways as they are written
        raise ModelError(f"{key}: {name} has no stages that give features ({' '.join(str(error).split())})") from error
    return [int(reduction) for reduction in features.feature_info.reduction()]


def _is_image(output: torch.Tensor, side: int) -> bool:
    return output.shape[1:] == (3, side, side)


def remove_dilation(backbone: Backbone | ResNet38) -> None:
    """Replace each dilated convolution by a plain one of the same weights and output size, in place.

    Networks of IRN (Ahn et al. 2019) and of methods that build on it keep the stride of their last stage in this way:
    its kernels see fewer pixels than those of the pretrained network. ResNet-38 was pretrained with its dilation, and
    keeps it.
    """
    if isinstance(backbone, ResNet38):
        return
    for module in backbone.modules():
        if isinstance(module, torch.nn.Conv2d) and not isinstance(module.padding, str):
            rows, columns = module.dilation
            module.padding = (module.padding[0] // rows, module.padding[1] // columns)
            module.dilation = (1, 1)
