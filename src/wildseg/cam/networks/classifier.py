"""A multi-label classifier on a backbone, its objective, and class activation maps of it (Zhou et al. 2016).

The head is linear and follows the mean over all cells, so the logit of a class is the mean of its class map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wildseg.cam.networks.bags import bag_loss
from wildseg.cam.networks.objective import CropConfig, MapObjective
from wildseg.cam.record import record_module
from wildseg.cam.trace import Trace
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.training.context import TrainContext
from wildseg.training.objective import Batch, ParamGroup, Term, decay_groups, freeze_norms
from wildseg.training.optim import OptimConfig

NAME = "network"  # of the classifier among an objective's networks


class ClassifierNet(nn.Module):
    """Features of a backbone's last stage (B, D, h, w), class maps (B, C, h, w) by a 1x1 convolution, their means."""

    def __init__(self, backbone: nn.Module, channels: int, num_classes: int) -> None:
        """Put a head without bias behind `backbone`, whose last stage has so many channels D."""
        super().__init__()
        self.backbone = backbone
        self.last = nn.Identity()  # the layer that activation maps are recorded at
        self.classifier = nn.Conv2d(channels, num_classes, 1, bias=False)

    def features(self, pixels: Tensor) -> Tensor:
        """Return the features (B, D, h, w) of images (B, 3, H, W)."""
        return self.last(self.backbone(pixels)[-1])

    def class_maps(self, pixels: Tensor) -> Tensor:
        """Return class maps (B, C, h, w): the head at each cell."""
        return self.classifier(self.features(pixels))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return self.class_maps(pixels).mean((2, 3))


class ClassifierObjective(MapObjective):
    """Multi-label classification by the labels of each frame, or of its tiles; its term is ``classification``."""

    def __init__(
        self,
        network: ClassifierNet,
        norm: Normalisation,
        optim: OptimConfig,
        crops: CropConfig,
        stride: int,
        context: TrainContext,
        cam: Callable[[Trace], Tensor] | None = None,
        *,
        frozen: bool = False,
        head_lr: float = 10.0,
    ) -> None:
        """Gather the parts.

        Args:
            network: to be trained; its batch normalisations use their running statistics.
            norm: of its images.
            optim: of its training.
            crops: of its training.
            stride: pixels per cell of its last stage.
            context: of its training.
            cam: from a recorded pass to maps (K, h, w), such as of a file of `methods/cam`, each of which is stretched;
                None takes the class maps as they are, which needs one pass for all classes.
            frozen: train the head alone.
            head_lr: factor on the head's learning rate.
        """
        super().__init__(optim, crops, norm, stride, (NAME,), stretched=cam is not None)
        self.network = network
        self.networks = {NAME: network}
        self._context = context
        self._cam = cam
        self._frozen = frozen
        self._head_lr = head_lr
        if frozen:
            network.backbone.requires_grad_(False)

    def param_groups(self) -> list[ParamGroup]:
        """Return the backbone's parameters unless it is frozen, and the head's at their own rate."""
        return decay_groups([self.network.backbone]) + decay_groups([self.network.classifier], self._head_lr)

    def train_mode(self) -> None:
        """Train, with running statistics; a frozen backbone evaluates."""
        self.network.train()
        freeze_norms(self.network)
        if self._frozen:
            self.network.backbone.eval()

    def loss(self, batch: Batch) -> dict[str, Term]:
        """Return the mean binary cross entropy over images and classes, or over tiles, where these have labels."""
        if "tiles" in batch:
            with self._context.autocast():
                maps = self.network.class_maps(batch["image"])
            return {"classification": bag_loss(maps, batch)}
        with self._context.autocast():
            logits = self.network(batch["image"])
        return {"classification": F.binary_cross_entropy_with_logits(logits.float(), batch["labels"])}

    def maps(self, pixels: Tensor, classes: Sequence[int]) -> Tensor:
        """Return the maps of the chosen method, or the relu of the class maps: (K, h, w)."""
        if self._cam is None:
            with torch.no_grad():
                return self.network.class_maps(pixels)[0, list(classes)].relu()
        head = self.network.classifier.weight.detach()[:, :, 0, 0]
        return self._cam(record_module(self.network, self.network.last, pixels, classes, head=head))
