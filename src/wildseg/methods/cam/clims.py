"""CLIMS (Xie et al. 2022, arXiv:2203.02668): maps trained by what CLIP sees through them and through their complement.

Options; null is the published value of the variant, named for ``improved`` (the authors' later code) and, in brackets,
``camera_ready`` (that of the paper).

    variant          ``camera_ready`` has a bottleneck in its head, trains kernels alone, suppresses all related phrases
                     by their mean, and normalises its images as CLIP's; its authors had tuned CLIP to the data set
                     before, and weights of such a CLIP are named as ``clip.pretrained``
    encoder          of segmentation-models-pytorch, tu- and a network of timm, or resnet38
    encoder_weights  null (random), a published set, or a local .safetensors file from the project on
    stride           pixels per cell of the maps: 8, 16 or 32, or the patch of a vision transformer; 8 for resnet38
    dilated          whether kernels behind a stride that is held back see as many pixels as with it; the published
                     networks are not dilated
    epochs           passes over the training frames: 15 (10); 0 takes the checkpoint, or the baseline, as it is
    batch_size       frames of a step
    size, crop       smallest and largest longer side of a frame, side of what is cut from it, in pixels
    flip             probability of a left-right flip
    lr, head_lr      peak learning rate, which falls to 0 with power 0.9, and the factor on it for the head: 10 (1: the
                     authors' code names a factor of 10, and sorts no kernel of its head under it)
    momentum         of SGD: 0, since the authors' optimiser takes its weight decay for it; 0.9 with the same learning
                     rate is a step ten times as large
    weight_decay     of all that is trained
    loss_weights     of object-text matching, background-text matching, suppression and area: 10, 24, 1, 0.2 (10, 25,
                     29.5, 1.15); published for COCO: 2, 14, 1.25, 0.2
    threshold        similarity above which a background phrase is suppressed: 0.26 (none), for ViT-B/32 of OpenAI;
                     published for COCO: 0.285. -1 suppresses all
    background       what is suppressed in a class's maps: a list for all classes, a mapping from classes to lists, or
                     auto, which proposes phrases from the class list (`wildseg.cam.networks.co_occurrence`): all of
                     them for all classes (each for its own class). Published for VOC: tree, river, sea, lake, water,
                     railway, railroad, track, stone, rocks (boat: river, water, lake, sea, building; train: railroad,
                     railway, branches, tree)
    templates        sentences with {} for a class's phrases, or a background phrase: a photo of {}. (without the stop)
    clip_norm        how the images are normalised that CLIP is shown: imagenet, as published although CLIP expects
                     others (clip)
    baseline_epochs  passes of the classifier that is trained before: 5 (15); 0 begins with the encoder's weights
    baseline_lr      its peak learning rate: 0.1 (0.01), ten times as large for its head
    checkpoint       a file from the project on that replaces the baseline: the authors' .pth, or .safetensors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from wildseg.cam.networks.classifier import ClassifierNet, ClassifierObjective
from wildseg.cam.networks.clims import SPREAD, ClimsObjective, MatchingConfig, ResidualHead
from wildseg.cam.networks.co_occurrence import background_phrases
from wildseg.cam.networks.frozen_stages import freeze_early_stages
from wildseg.cam.networks.objective import CropConfig, NetworkContext
from wildseg.cam.networks.official_clims import load_checkpoint
from wildseg.cam.networks.sgd import sgd
from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Count, Length, Share, Side
from wildseg.encoders.cnn import backbone
from wildseg.encoders.cnn.backbone import Backbone
from wildseg.encoders.cnn.build import LOADED
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.encoders.cnn.resnet38 import ResNet38

NEEDS = frozenset({"network", "clip"})

KEY = "cam.options.clims"
# As OpenAI normalised images, whatever CLIP is used: the network of the camera-ready variant was trained so.
OPENAI = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), "OpenAI's CLIP's")


@dataclass(frozen=True)
class Variant:
    """What a variant was published with; the options of the same names replace it."""

    epochs: float
    head_lr: float
    loss_weights: tuple[float, float, float, float]
    threshold: float | None
    reduction: Literal["sum", "mean"]
    templates: tuple[str, ...]
    clip_norm: Literal["imagenet", "clip"]
    baseline_epochs: float
    baseline_lr: float


VARIANTS = {
    "improved": Variant(15, 10, (10, 24, 1, 0.2), 0.26, "sum", ("a photo of {}.",), "imagenet", 5, 0.1),
    "camera_ready": Variant(10, 1, (10, 25, 29.5, 1.15), None, "mean", ("a photo of {}",), "clip", 15, 0.01),
}


def build(
    context: NetworkContext,
    *,
    variant: Literal["improved", "camera_ready"] = "improved",
    encoder: str = "tu-resnet50",
    encoder_weights: str | None = None,
    stride: Annotated[int, Between(1, 64)] = 16,
    dilated: bool = False,
    epochs: Annotated[float, Between(0, 10_000)] | None = None,
    batch_size: Count = 16,
    size: Annotated[Sequence[Side], Length(2, 2)] = (320, 640),
    crop: Side = 512,
    flip: Share = 0.5,
    lr: Annotated[float, Between(0, 100, above=True)] = 2.5e-4,
    head_lr: Annotated[float, Between(0, 1000)] | None = None,
    momentum: Annotated[float, Between(0, 0.9999)] = 0.0,
    weight_decay: Annotated[float, Between(0, 10)] = 1e-4,
    loss_weights: Annotated[Sequence[Annotated[float, Between(0, 1e6)]], Length(4, 4)] | None = None,
    threshold: Annotated[float, Between(-1, 1)] | None = None,
    background: Literal["auto"] | Sequence[str] | Mapping[str, Sequence[str]] = "auto",
    templates: Annotated[Sequence[str], Length(1, 1000)] | None = None,
    clip_norm: Literal["imagenet", "clip"] | None = None,
    baseline_epochs: Annotated[float, Between(0, 10_000)] | None = None,
    baseline_lr: Annotated[float, Between(0, 100, above=True)] | None = None,
    checkpoint: str | None = None,
) -> ClimsObjective:
    """Build the network and its training, see the options above.

    Raises:
        DataError: a file is missing or broken.
        ModelError: encoder or weights do not exist or do not fit.
        ParamsError: an option means nothing with these classes, or beside another option.
    """
    published = VARIANTS[variant]
    ready = variant == "camera_ready"
    passes = _or(epochs, published.epochs)
    steps = context.steps(passes, batch_size)
    before = 0 if checkpoint else context.steps(_or(baseline_epochs, published.baseline_epochs), batch_size)
    _check(size, crop, stride, steps or before or checkpoint or not len(context.labels))
    config = _config(published, loss_weights, threshold, templates, clip_norm)
    phrases = background_phrases(background, context.class_names, context.phrases, not ready, f"{KEY}.background")
    trunk = _trunk(encoder, context.weights(encoder_weights), stride, dilated)
    norm = OPENAI if ready else trunk.norm
    crops = CropConfig(crop, batch_size, "long", (size[0], size[1]), flip)
    first = None
    if before:
        optim = sgd(before, _or(baseline_lr, published.baseline_lr), momentum, weight_decay, "baseline_lr")
        baseline = ClassifierNet(deepcopy(trunk), trunk.channels[-1], context.num_classes)
        first = ClassifierObjective(baseline, norm, optim, crops, stride, context.training)
    network = _network(trunk, context.num_classes, ready)
    if checkpoint:
        found = load_checkpoint(network, context.root / checkpoint, f"{KEY}.checkpoint", passes > 0)
        left_out = f"; left out: {', '.join(found.left_out)}" if found.left_out else ""
        setattr(network, LOADED, f"{len(found.state)} tensors from {checkpoint}{left_out}")
    return ClimsObjective(
        network, norm, sgd(steps, lr, momentum, weight_decay), crops, stride, context.training, context.clip,
        context.phrases, phrases, config, first=first, new_head=ready,
        head_lr=_or(head_lr, published.head_lr),
    )  # fmt: skip


def _trunk(encoder: str, weights: str | None, stride: int, dilated: bool) -> Backbone | ResNet38:
    trunk = backbone.create(encoder, weights, stride, f"{KEY}.encoder")
    if not dilated:
        backbone.remove_dilation(trunk)
    return trunk


def _network(trunk: Backbone | ResNet38, num_classes: int, ready: bool) -> ClassifierNet:
    """Put the variant's head on a backbone, and freeze what the variant does not train."""
    network = ClassifierNet(trunk, trunk.channels[-1], num_classes)
    if ready:
        network.register_module("last", ResidualHead(trunk.channels[-1]))
        nn.init.normal_(network.classifier.weight, std=SPREAD)
        for parameter in network.parameters():
            parameter.requires_grad_(parameter.ndim > 1)
    elif isinstance(trunk, ResNet38):
        for layer in trunk.early_layers():
            layer.requires_grad_(False)
    elif trunk.strides[0] == 2 and len(trunk.strides) > 1:  # the first stage is a stem
        freeze_early_stages(trunk, len(trunk.strides) - 1, trunk.strides[-1])
    return network


def _or(value: float | None, published: float) -> float:
    return published if value is None else value


def _config(
    published: Variant,
    loss_weights: Sequence[float] | None,
    threshold: float | None,
    templates: Sequence[str] | None,
    clip_norm: Literal["imagenet", "clip"] | None,
) -> MatchingConfig:
    for template in templates or ():
        if "{}" not in template:
            raise ParamsError(f"{KEY}.templates: expected {{}} where the class goes, found {template!r}")
    object_text, background_text, suppression, area = loss_weights or published.loss_weights
    return MatchingConfig(
        object_text,
        background_text,
        suppression,
        area,
        published.threshold if threshold is None else threshold,
        published.reduction,
        tuple(templates or published.templates),
        clip_norm or published.clip_norm,
    )


def _check(size: Sequence[int], crop: int, stride: int, learned: object) -> None:
    if size[0] > size[1]:
        raise ParamsError(f"{KEY}.size: expected the smaller length first, found {list(size)}")
    if crop % stride:
        raise ParamsError(f"{KEY}.crop: expected a multiple of the stride, {stride}, found {crop}")
    if not learned:
        raise ParamsError(f"{KEY}.epochs: expected more than 0 without a checkpoint and a baseline, found 0")
