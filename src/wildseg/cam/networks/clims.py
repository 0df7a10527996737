"""CLIMS (Xie et al. 2022, arXiv:2203.02668): sigmoid maps that a frozen image-text model supervises; see its losses.

The maps are ``P = sigmoid(head(features))`` in training and ``relu(head(features))`` afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from wildseg.cam.networks import classifier, clims_losses
from wildseg.cam.networks.classifier import ClassifierNet
from wildseg.cam.networks.co_occurrence import BackgroundPhrases, without_synonyms
from wildseg.cam.networks.objective import CropConfig, MapObjective, TrainingFrames
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.training.context import TrainContext
from wildseg.training.objective import Batch, ParamGroup, Term
from wildseg.training.optim import OptimConfig

if TYPE_CHECKING:
    from wildseg.encoders.clip import Clip

NAME = classifier.NAME
BACKBONE = "backbone."  # what the names of a backbone's tensors begin with
SLOPE = 0.01  # of the leaky ReLU in the camera-ready head
SPREAD = 0.01  # standard deviation of new kernels
IMAGENET = Normalisation()


@dataclass(frozen=True)
class MatchingConfig:
    """What the maps are trained for.

    Attributes:
        object_text: weight of object-text matching.
        background_text: weight of background-text matching.
        suppression: weight of co-occurring background suppression.
        area: weight of the maps' area.
        threshold: similarity with a background text above which it is suppressed; None suppresses all.
        reduction: of a pair's background texts.
        templates: sentences with ``{}`` for the class or the background phrase.
        clip_norm: normalisation of what the image-text model is shown, ImageNet's or its own.
    """

    object_text: float
    background_text: float
    suppression: float
    area: float
    threshold: float | None
    reduction: Literal["sum", "mean"]
    templates: tuple[str, ...]
    clip_norm: Literal["imagenet", "clip"]


@dataclass(frozen=True)
class Texts:
    """Unit text features: (C, d) of classes, (L, d) of background phrases; (C, L) bool, which are related."""

    classes: Tensor
    background: Tensor
    related: Tensor


class ResidualHead(nn.Module):
    """The bottleneck of the camera-ready variant before its classifier: (B, D, h, w) to the same shape."""

    def __init__(self, channels: int) -> None:
        """Build a bottleneck of a quarter of the channels; new kernels are drawn from a narrow normal distribution."""
        super().__init__()
        inner = max(1, channels // 4)
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.act = nn.LeakyReLU(SLOPE)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.normal_(conv.weight, std=SPREAD)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features plus what three convolutions make of them."""
        inner = self.act(self.bn1(self.conv1(features)))
        inner = self.act(self.bn2(self.conv2(inner)))
        return self.act(features + self.bn3(self.conv3(inner)))


class ClimsObjective(MapObjective):
    """Trains class maps by what an image-text model sees through them; each of its four terms is weighted."""

    def __init__(
        self,
        network: ClassifierNet,
        norm: Normalisation,
        optim: OptimConfig,
        crops: CropConfig,
        stride: int,
        context: TrainContext,
        clip: Callable[[], Clip],
        phrases: Sequence[Sequence[str]],
        background: BackgroundPhrases,
        config: MatchingConfig,
        *,
        first: MapObjective | None = None,
        new_head: bool = False,
        head_lr: float = 10.0,
    ) -> None:
        """Gather the parts.

        Args:
            network: whose parameters are trained that require gradients.
            norm: of its images.
            optim: of its training.
            crops: of its training.
            stride: pixels per cell of its last stage.
            context: of its training.
            clip: returns the frozen image-text model on the context's device.
            phrases: of each class.
            background: phrases of background.
            config: what it is trained for.
            first: a classifier that is trained before.
            new_head: of `first`, only the backbone is taken over.
            head_lr: factor on the learning rate of what stands behind the backbone.
        """
        super().__init__(optim, crops, norm, stride, (NAME,), first=first)
        self.network = network
        self.networks = {NAME: network}
        self.background = background
        self._context = context
        self._load_clip = clip
        self._phrases = phrases
        self._config = config
        self._new_head = new_head
        self._head_lr = head_lr

    @cached_property
    def clip(self) -> Clip:
        """The frozen image-text model, loaded on first access."""
        return self._load_clip()

    @cached_property
    def texts(self) -> Texts:
        """The text features, computed once; proposed phrases that mean a class to the model are left out by now."""
        clip, templates = self.clip, self._config.templates
        if self.background.proposed:
            self.background = without_synonyms(
                self.background, self._phrases, lambda texts: clip.classifier([(text,) for text in texts], templates)
            )
        background = [(phrase,) for phrase in self.background.phrases]
        classes = clip.classifier(self._phrases, templates)
        empty = classes.new_zeros(0, classes.shape[1])
        return Texts(
            classes,
            clip.classifier(background, templates) if background else empty,
            torch.from_numpy(self.background.related).to(classes.device),
        )

    def remarks(self) -> Iterator[str]:
        """Yield the phrases that were proposed, with which the image-text model is not compared yet."""
        if self.background.proposed:
            yield (
                f"background phrases proposed: {', '.join(self.background.phrases) or 'none'}; those that mean a class "
                "to the image-text model are left out"
            )

    def param_groups(self) -> list[ParamGroup]:
        """Return the backbone's parameters, and at their own rate those of the head; normalisations decay like all."""
        head = nn.ModuleList([self.network.last, self.network.classifier])
        parts = ((self.network.backbone, 1.0), (head, self._head_lr))
        groups = [ParamGroup([p for p in part.parameters() if p.requires_grad], scale) for part, scale in parts]
        return [group for group in groups if group.params]

    def loss(self, batch: Batch) -> dict[str, Term]:
        """Return the weighted terms, means over all pairs of the batch, pairs of several processes included.

        Background suppression is a sum over pairs, as it was published.
        """
        images, labels, config = batch["image"], batch["labels"], self._config
        with self._context.autocast():
            logits = self.network.class_maps(images)
        maps = logits.float().sigmoid()
        rows, classes = torch.nonzero(labels > 0.5, as_tuple=True)
        total = self._context.distributed.sum
        pairs, number = total(labels.new_tensor([len(rows), len(images)]))
        area = config.area * clims_losses.area(maps) / number
        if not len(rows):
            nothing = maps.new_zeros(())
            return {"object_text": nothing, "background_text": nothing, "suppression": nothing, "area": area}
        foreground, background, co_occurring = self._similarities(images, maps, rows, classes)
        suppressed = clims_losses.background_suppression(
            co_occurring, self.texts.related[classes], config.threshold, config.reduction
        )
        return {
            "object_text": config.object_text * clims_losses.object_text_matching(foreground).sum() / pairs,
            "background_text": config.background_text * clims_losses.background_text_matching(background).sum() / pairs,
            "suppression": config.suppression * suppressed.sum(),
            "area": area,
        }

    def _similarities(
        self, images: Tensor, maps: Tensor, rows: Tensor, classes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cosines of each pair.

        These are of its foreground and its background with its class, (M,) each, and of its foreground with all
        background texts, (M, L).
        """
        clip = self.clip
        shown = IMAGENET
        if self._config.clip_norm == "clip":
            shown = Normalisation(_three(clip.mean), _three(clip.std))
        seen = renormalise(images, self.norm, shown)
        views = clims_losses.masked_images(seen, maps, rows, classes, clip.size)
        # Always float32, as all that is read from the image-text model.
        foreground, background = clip.differentiable_features(torch.cat(views)).chunk(2)
        own = self.texts.classes[classes]
        return (foreground * own).sum(1), (background * own).sum(1), foreground @ self.texts.background.T

    def maps(self, pixels: Tensor, classes: Sequence[int]) -> Tensor:
        """Return the relu of the class maps: (K, h, w)."""
        return self.network.class_maps(pixels)[0, list(classes)].relu()

    def follow(self, first: MapObjective, frames: TrainingFrames) -> None:
        """Take over the classifier; with a new head its backbone alone."""
        if not self._new_head:
            return super().follow(first, frames)
        trained = first.networks[NAME].state_dict()
        backbone = {name: value for name, value in trained.items() if name.startswith(BACKBONE)}
        self.network.load_state_dict(backbone, strict=False)
        return None


def renormalise(images: Tensor, given: Normalisation, wanted: Normalisation) -> Tensor:
    """Return images (B, 3, H, W), normalised as `given`, normalised as `wanted`."""
    if (given.mean, given.std) == (wanted.mean, wanted.std):
        return images
    values = (given.std, given.mean, wanted.mean, wanted.std)
    std, mean, other_mean, other_std = (images.new_tensor(value).view(3, 1, 1) for value in values)
    return (images * std + mean - other_mean) / other_std


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue
