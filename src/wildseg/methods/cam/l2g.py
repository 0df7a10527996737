"""L2G (Jiang et al. 2022, arXiv:2204.03206): a global network learns the maps of a local one that is shown patches.

Options; defaults are those published for VOC but for the encoder, which was resnet38. Published for COCO: size and crop
448, four random patches, threshold 0.1, background ``value``, transfer weight 30, schedule ``poly``.

    encoder          resnet38, any encoder of segmentation-models-pytorch, or tu- and a network of timm; its last three
                     stages stand for conv4, conv5 and conv6
    encoder_weights  null (random), a published set, or a local file, with which both networks begin. Normalisations of
                     a pretrained encoder stay as they are; those of a random one, without statistics, are trained
    stride           pixels per cell of the maps; 8 for resnet38
    epochs           passes over the training frames; 0 takes the networks of the checkpoint as they are
    batch_size       images of a step
    size, crop       smallest and largest length of the short side of an image, side of what is cut from it, in pixels
    flip, jitter     probability of a left-right flip; brightness, contrast, saturation and hue
    patches, patch   how many of an image the local network is shown, and their side in pixels, a multiple of the stride
    layout           of the patches: the four corners and random places, random places alone, or an even grid
    saliency         null transfers attention alone; a folder of 8-bit PNG <frame>.png, from the project on; or
                     estimate, boundary connectivity of each image, which expects objects before a background
    threshold        with saliency: a class, or the background, holds a cell where its attention exceeds this
    background       with saliency: target of cells that the background holds, 1 - saliency (indicator), or the
                     background's attention times that (value)
    transfer_weight  of the transfer beside the local classification
    activation       of the maps: relu, as published, or softmax over classes and background, as in training
    lr, schedule     learning rate of the encoder's weights, of which biases take twice and new layers ten times; it
                     falls to a tenth after half of the steps (step), or to 0 with power 0.9 (poly)
    momentum         of SGD, with Nesterov's gradient
    weight_decay     of all that is trained
    checkpoint       a file of the networks, from the project on: the authors' .pth, or .safetensors
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

from wildseg.cam.networks import official_l2g
from wildseg.cam.networks.local_to_global import CorrelatedNet, LocalToGlobalObjective, TransferConfig
from wildseg.cam.networks.objective import CropConfig, NetworkContext
from wildseg.cam.networks.saliency import saliency_of
from wildseg.core.errors import ModelError, ParamsError
from wildseg.core.limits import Between, Length, Share, Side
from wildseg.encoders.cnn import backbone
from wildseg.encoders.cnn.backbone import Backbone
from wildseg.encoders.cnn.build import LOADED
from wildseg.encoders.cnn.resnet38 import ResNet38
from wildseg.training.optim import OptimConfig

NEEDS = frozenset({"network"})
KEY = "cam.options.l2g"
STAGES = 3  # of an encoder that are used
CORNERS = 4


def build(
    context: NetworkContext,
    *,
    encoder: str = "tu-resnet50",
    encoder_weights: str | None = None,
    stride: Literal[8, 16, 32] = 8,
    epochs: Annotated[float, Between(0, 10_000)] = 10,
    batch_size: Annotated[int, Between(1, 4096)] = 3,
    size: Annotated[Sequence[Side], Length(2, 2)] = (512, 512),
    crop: Side = 448,
    flip: Share = 0.0,
    jitter: Annotated[Sequence[Annotated[float, Between(0, 0.5)]], Length(4, 4)] = (0.3, 0.3, 0.3, 0.1),
    patches: Annotated[int, Between(1, 256)] = 6,
    patch: Side = 320,
    layout: Literal["corners", "random", "grid"] = "corners",
    saliency: str | None = None,
    threshold: Share = 0.001,
    background: Literal["indicator", "value"] = "indicator",
    transfer_weight: Annotated[float, Between(0, 1e6)] = 10.0,
    activation: Literal["relu", "softmax"] = "relu",
    lr: Annotated[float, Between(0, 100, above=True)] = 0.001,
    schedule: Literal["step", "poly"] = "step",
    momentum: Annotated[float, Between(0, 0.9999)] = 0.9,
    weight_decay: Annotated[float, Between(0, 10)] = 5e-4,
    checkpoint: str | None = None,
) -> LocalToGlobalObjective:
    """Build both networks and their training, see the options above.

    Raises:
        DataError: a file or folder is missing or broken.
        ModelError: encoder or weights do not exist or do not fit.
        ParamsError: options contradict each other.
    """
    transfer = TransferConfig(patches, patch, layout, transfer_weight, threshold, background, activation)
    colours = (jitter[0], jitter[1], jitter[2], jitter[3])
    crops = CropConfig(crop, batch_size, "short", (size[0], size[1]), flip, colours, saliency is not None)
    _check(transfer, crops, stride)
    if not epochs and not checkpoint:
        raise ParamsError(f"{KEY}.epochs: expected more than 0 without a checkpoint, found {epochs:g}")
    source = saliency_of(saliency, context.root, f"{KEY}.saliency")
    trunks = [_encoder(context, encoder, encoder_weights, stride) for _ in range(2)]
    networks = [CorrelatedNet(trunk, trunk.channels, context.num_classes) for trunk in trunks]
    if checkpoint:
        found = official_l2g.load(networks, context.root / checkpoint, f"{KEY}.checkpoint", other_classes=epochs > 0)
        setattr(networks[0], LOADED, f"{found} from {checkpoint}")
    steps = context.steps(epochs, batch_size)
    falling: Literal["poly"] | Callable[[int], float] = "poly" if schedule == "poly" else partial(_two_rates, lr, steps)
    optim = OptimConfig(steps, lr, "sgd", falling, momentum, momentum > 0, weight_decay=weight_decay, warmup=0.0)
    return LocalToGlobalObjective(
        networks, trunks[0].norm, optim, crops, stride, transfer, context.training,
        frozen=bool(encoder_weights or checkpoint), saliency=source,
    )  # fmt: skip


def _check(transfer: TransferConfig, crops: CropConfig, stride: int) -> None:
    if transfer.layout == "corners" and transfer.patches < CORNERS:
        raise ParamsError(f"{KEY}.patches: expected at least 4 for layout: corners, found {transfer.patches}")
    for name, side in (("crop", crops.crop), ("patch", transfer.patch)):
        if side % stride:
            raise ParamsError(f"{KEY}.{name}: expected a multiple of the stride, {stride}; found {side}")
    if transfer.patch > crops.crop:
        raise ParamsError(f"{KEY}.patch: expected at most the crop, {crops.crop}; found {transfer.patch}")
    if crops.size[0] > crops.size[1]:
        raise ParamsError(f"{KEY}.size: expected the smaller length first, found {list(crops.size)}")


def _encoder(context: NetworkContext, name: str, weights: str | None, stride: int) -> Backbone | ResNet38:
    found = backbone.create(name, context.weights(weights), stride, f"{KEY}.encoder")
    if len(found.channels) < STAGES:
        raise ModelError(f"{KEY}.encoder: expected at least 3 stages, of which {name} has {len(found.channels)}")
    return found


def _two_rates(lr: float, steps: int, step: int) -> float:
    return lr if 2 * step < steps else lr / 10
