"""C-CAM (Chen et al. 2022): maps of a classifier that knows where classes usually are, for registered frames.

For frames in which a place always means the same, as in medical slices or the picture of a camera that does not move.
P-CAM, a plain classifier, is trained first; the rest is made from its maps of the training frames. No truth is read.

Options, with what was published (for one class, in the code of Volume-C-CAM by the same group):

    chains           ``both``; ``category`` or ``anatomy`` alone; ``none`` is P-CAM
    encoder          of segmentation-models-pytorch, tu- and a network of timm, or resnet38
    encoder_weights  null (random), a published set, or a local .safetensors file from the project on
    stride           pixels per cell of the maps: 8, 16 or 32, or the patch of a vision transformer; 8 for resnet38
    dilated          whether kernels behind a stride that is held back see as many pixels as with it; the published
                     networks are not dilated
    trained_stages   the last stages of the encoder, which are trained: 2, the output of stage 2 being detached
    epochs, lr       of P-CAM: passes over the training frames, and the peak learning rate, which falls to 0 with power
                     0.9: 10 and 0.01
    causal_epochs    of the category-causality chain: 15
    causal_lr        0.001
    head_lr          factor on the learning rate of a head: 10
    momentum         of SGD: 0, since the authors' optimiser takes its weight decay for it
    weight_decay     of kernels: 1e-4
    batch_size       frames of a step: 16
    size, crop       smallest and largest longer side of a frame, side of what is cut from it, in pixels
    flip             probability of a left-right flip
    threshold        of P-CAM's maps in [0, 1], above which a place belongs to a coarse mask: 0.3. Published is the best
                     one against the truth, which is not known here
    prior_size       places of a side of masks and priors: 512. A smaller one is faster
    embedding        size of query and key of the causal predictor: 1
    min_share        share of a class's frames whose masks must hold a place, for the anatomy-causality chain to let the
                     class be there: 0, one frame is enough. Where P-CAM also marks other things, here and there, every
                     place is marked some time, and 0.1 to 0.4 tells the class from them
    checkpoint       of P-CAM, which starts from it: the authors' .pth, or .safetensors, from the project on
    causal_checkpoint  of the category-causality chain, in place of P-CAM's weights

With one class the causal predictor's weights and coarse masks have no influence, see `wildseg.cam.networks.causal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from torch import nn

from wildseg.cam.networks.causal import CausalNet
from wildseg.cam.networks.causal_objective import CausalObjective, Chains
from wildseg.cam.networks.classifier import ClassifierNet, ClassifierObjective
from wildseg.cam.networks.frozen_stages import freeze_early_stages
from wildseg.cam.networks.location_prior import LocationPrior
from wildseg.cam.networks.objective import CropConfig, MapObjective, NetworkContext
from wildseg.cam.networks.official_ccam import load_checkpoint
from wildseg.cam.networks.sgd import sgd
from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Channels, Count, Length, Share, Side
from wildseg.encoders.cnn import backbone
from wildseg.encoders.cnn.backbone import Backbone
from wildseg.encoders.cnn.resnet38 import ResNet38
from wildseg.training.optim import OptimConfig

NEEDS = frozenset({"network"})

KEY = "cam.options.ccam"


def build(
    context: NetworkContext,
    *,
    chains: Literal["both", "category", "anatomy", "none"] = "both",
    encoder: str = "tu-resnet50",
    encoder_weights: str | None = None,
    stride: Annotated[int, Between(1, 64)] = 16,
    dilated: bool = False,
    trained_stages: Annotated[int, Between(1, 16)] = 2,
    epochs: Annotated[float, Between(0, 10_000)] = 10,
    lr: Annotated[float, Between(0, 100, above=True)] = 0.01,
    causal_epochs: Annotated[float, Between(0, 10_000)] = 15,
    causal_lr: Annotated[float, Between(0, 100, above=True)] = 0.001,
    head_lr: Annotated[float, Between(0, 1000)] = 10.0,
    momentum: Annotated[float, Between(0, 0.9999)] = 0.0,
    weight_decay: Annotated[float, Between(0, 10)] = 1e-4,
    batch_size: Count = 16,
    size: Annotated[Sequence[Side], Length(2, 2)] = (320, 640),
    crop: Side = 512,
    flip: Share = 0.5,
    threshold: Annotated[float, Between(0, 0.99)] = 0.3,
    prior_size: Annotated[int, Between(2, 2048)] = 512,
    embedding: Channels = 1,
    min_share: Annotated[float, Between(0, 0.99)] = 0.0,
    checkpoint: str | None = None,
    causal_checkpoint: str | None = None,
) -> MapObjective:
    """Build P-CAM and what follows it, see the options above.

    Raises:
        DataError: a file is missing or broken.
        ModelError: encoder or weights do not exist or do not fit.
        ParamsError: an option means nothing beside another one.
    """
    _check(size, crop, stride, chains, causal_checkpoint)

    trunk = partial(_trunk, encoder, context.weights(encoder_weights), stride, dilated, trained_stages)

    def optim(passes: float, rate: float, option: str = "lr") -> OptimConfig:
        return sgd(context.steps(passes, batch_size), rate, momentum, weight_decay, option)

    encoder_of_images = trunk()
    learned = _classifier(encoder_of_images, context)
    _load(learned, context, checkpoint, "checkpoint", new_head=epochs > 0)
    crops = CropConfig(crop, batch_size, "long", (size[0], size[1]), flip)
    first = ClassifierObjective(
        learned, encoder_of_images.norm, optim(epochs, lr), crops, stride, context.training, head_lr=head_lr
    )
    if chains == "none":
        return first
    causal = None
    if chains != "anatomy":
        causal = CausalNet(trunk(), learned.classifier.in_channels, context.num_classes, prior_size, embedding)
        _load(causal, context, causal_checkpoint, "causal_checkpoint", new_head=causal_epochs > 0)
    pcam = None if causal and context.num_classes == 1 else _classifier(trunk(), context)
    parts = Chains(chains != "category", threshold, min_share, head_lr, follow=causal_checkpoint is None)
    rest = optim(causal_epochs if causal else 0, causal_lr, "causal_lr")
    prior = LocationPrior(context.num_classes, prior_size)
    return CausalObjective(first, pcam, causal, prior, rest, parts, context.training)


def _trunk(encoder: str, weights: str | None, stride: int, dilated: bool, trained_stages: int) -> Backbone | ResNet38:
    built = backbone.create(encoder, weights, stride, f"{KEY}.encoder")
    if not dilated:
        backbone.remove_dilation(built)
    freeze_early_stages(built, trained_stages, stride)
    return built


def _classifier(trunk: Backbone | ResNet38, context: NetworkContext) -> ClassifierNet:
    return ClassifierNet(trunk, trunk.channels[-1], context.num_classes)


def _load(network: nn.Module, context: NetworkContext, file: str | None, option: str, new_head: bool) -> None:
    """Load a checkpoint, unless there is none, or nothing is trained, so that all weights are replaced later."""
    if file and len(context.labels):
        load_checkpoint(network, context.root / file, f"{KEY}.{option}", new_head)


def _check(size: Sequence[int], crop: int, stride: int, chains: str, causal_checkpoint: str | None) -> None:
    if size[0] > size[1]:
        raise ParamsError(f"{KEY}.size: expected the smaller length first, found {list(size)}")
    if crop % stride:
        raise ParamsError(f"{KEY}.crop: expected a multiple of the stride, {stride}, found {crop}")
    if causal_checkpoint and chains not in ("both", "category"):
        raise ParamsError(
            f"{KEY}.causal_checkpoint: expected chains that have a causal network, both or category; found {chains}"
        )
