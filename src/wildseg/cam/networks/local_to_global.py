"""L2G (Jiang et al. 2022, arXiv:2204.03206): a global network learns from a local one that is shown patches.

A network that is shown a patch finds more of an object than one that is shown all of the image. The local network is
trained to classify patches; the global one, in the same step, to give on the whole image the maps that the local one
gives on its patches. Maps of the global network are the result: one pass an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wildseg.cam.networks import patches, transfer
from wildseg.cam.networks.bags import bag_loss, in_view, of_patches
from wildseg.cam.networks.objective import CropConfig, MapObjective, SaliencyOf
from wildseg.cam.networks.patches import Layout
from wildseg.cam.networks.pcm import PixelCorrelation
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.training.context import TrainContext
from wildseg.training.objective import Batch, ParamGroup, Term, freeze_norms
from wildseg.training.optim import OptimConfig

GLOBAL, LOCAL = "global", "local"  # the two networks by name


class CorrelatedNet(nn.Module):
    """Class maps of a backbone and a linear head, plus the same propagated by pixel correlation.

    The published network propagates features and puts the head behind: F = W x + W (x a). Both are linear in x, so
    that propagating the maps is the same, F = m + m a with m = W x, at a fraction of the work.
    """

    def __init__(self, backbone: nn.Module, channels: Sequence[int], num_classes: int) -> None:
        """Put head and correlation behind a backbone.

        Args:
            backbone: from images (B, 3, H, W) to a list of at least three features, of which the last three are used.
            channels: of all its features.
            num_classes: C; the head has one channel more, the last, for the background.
        """
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(channels[-1], num_classes + 1, 1, bias=False)
        nn.init.xavier_uniform_(self.head.weight)
        self.correlation = PixelCorrelation(channels[-3:-1])

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the maps F (B, C + 1, h, w) of images (B, 3, H, W); the background's is the last."""
        *_, first, second, last = self.backbone(pixels)
        maps = self.head(last)
        return maps + self.correlation(maps, pixels, (first, second))

    def new_layers(self) -> list[nn.Module]:
        """Return what no pretrained backbone holds."""
        return [self.head, self.correlation]


@dataclass(frozen=True)
class TransferConfig:
    """How the global network learns from the local one.

    Attributes:
        patches: of each image.
        patch: side of a patch in pixels, a multiple of the stride.
        layout: of the patches, see `patches.places`.
        weight: of the transfer beside the local classification.
        threshold: see `transfer.shape_target`.
        background: see `transfer.shape_target`.
        activation: of the maps after training: ``relu``, as published, or ``softmax`` over classes and background,
            with which they were trained.
    """

    patches: int = 6
    patch: int = 320
    layout: Layout = "corners"
    weight: float = 10.0
    threshold: float = 0.001
    background: Literal["indicator", "value"] = "indicator"
    activation: Literal["relu", "softmax"] = "relu"


class LocalToGlobalObjective(MapObjective):
    """Terms: ``classification`` of patches by the local network, and ``transfer`` from it to the global one.

    No gradient of the transfer reaches the local network, and the global one is not trained to classify.
    For images without saliency, attention alone is transferred.
    """

    def __init__(
        self,
        networks: Sequence[CorrelatedNet],
        norm: Normalisation,
        optim: OptimConfig,
        crops: CropConfig,
        stride: int,
        config: TransferConfig,
        context: TrainContext,
        *,
        frozen: bool = True,
        saliency: SaliencyOf | None = None,
    ) -> None:
        """Gather the parts.

        Args:
            networks: the global and the local one, of the same architecture.
            norm: of their images.
            optim: of the training.
            crops: of the training.
            stride: pixels per cell of their maps.
            config: of the transfer.
            context: of the training.
            frozen: keep the batch normalisations as they are, and the early layers of backbones that name such.
            saliency: of frames; None transfers attention alone.
        """
        super().__init__(optim, crops, norm, stride, (GLOBAL,), saliency=saliency)
        self.networks: dict[str, CorrelatedNet] = dict(zip((GLOBAL, LOCAL), networks, strict=True))
        self._config = config
        self._context = context
        self._frozen = frozen
        if frozen:
            for network in networks:
                _freeze(network)

    def param_groups(self) -> list[ParamGroup]:
        """Return weights at the learning rate, biases at twice that, and both of new layers at ten times that."""
        groups = [
            ([network.backbone for network in self.networks.values()], 1.0),
            ([layer for network in self.networks.values() for layer in network.new_layers()], 10.0),
        ]
        found = []
        for modules, scale in groups:
            named = [pair for module in modules for pair in module.named_parameters() if pair[1].requires_grad]
            biases = [parameter for name, parameter in named if name.endswith("bias")]
            found += [ParamGroup([parameter for name, parameter in named if not name.endswith("bias")], scale)]
            found += [ParamGroup(biases, 2 * scale)]
        return [group for group in found if group.params]

    def train_mode(self) -> None:
        """Train; frozen normalisations use their running statistics."""
        super().train_mode()
        if self._frozen:
            for network in self.networks.values():
                freeze_norms(network)

    def loss(self, batch: Batch) -> dict[str, Term]:
        """Return both terms; patches are drawn anew in each step."""
        config, images = self._config, batch["image"]
        where = patches.places(len(images), config.patches, images.shape[-1], config.patch, config.layout)
        with self._context.autocast():
            local = self.networks[LOCAL](patches.cut(images, where, config.patch)).float()  # (B * P, C + 1, h', w')
            whole = self.networks[GLOBAL](images).float()
        labels, tiles = batch["labels"].repeat_interleave(config.patches, 0), None
        if "tiles" in batch:
            tiles = of_patches(batch, where, config.patch)
            labels = in_view(tiles["tiles"], tiles["window"])
        found = transfer.at_patches(whole, patches.boxes(where, config.patch), local.shape[2:], self.stride)
        terms = {
            "classification": bag_loss(local[:, :-1], tiles)
            if tiles
            else F.multilabel_soft_margin_loss(local[:, :-1].mean((2, 3)), labels),
            "transfer": config.weight * transfer.transfer_loss(found, self._target(local, labels, batch, where)),
        }
        share = self._share(len(images))
        return {name: term * share for name, term in terms.items()}

    def maps(self, pixels: Tensor, classes: Sequence[int]) -> Tensor:
        """Return the global network's maps, or their softmax over classes and background: (K, h, w).

        With ``relu`` they are rectified after the mean over scales and flips, as published.
        """
        with torch.no_grad(), self._context.autocast():
            whole = self.networks[GLOBAL](pixels)[0].float()
        return (whole if self._config.activation == "relu" else whole.softmax(0))[list(classes)]

    def _target(self, local: Tensor, labels: Tensor, batch: Batch, where: Tensor) -> Tensor:
        attention = transfer.attention_target(local, labels)
        if "saliency" not in batch:
            return attention
        config = self._config
        saliency = patches.cut(batch["saliency"], where, config.patch)
        shaped = transfer.shape_target(attention, saliency, config.threshold, config.background)
        known = batch["has_saliency"].repeat_interleave(config.patches)[:, None, None, None]
        return torch.where(known, shaped, attention)

    def _share(self, images: int) -> Tensor | float:
        """Return this process's share of the images of a step, all means being over those of all processes."""
        distributed = self._context.distributed
        if distributed.world_size == 1:
            return 1.0
        number = torch.tensor(float(images), device=self._context.device)
        return number / distributed.sum(number)


def _freeze(network: CorrelatedNet) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.requires_grad_(False)
    early = getattr(network.backbone, "early_layers", list)
    for layer in early():
        layer.requires_grad_(False)
