"""A classifier trained on the frames' labels, and any CAM of it (Zhou et al. 2016; Selvaraju et al. 2017 and others).

A multi-label head behind the mean over a backbone's last stage. The published recipes train the head alone or all of
the network, with the batch normalisations of the pretrained weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from wildseg.cam.networks.classifier import ClassifierNet, ClassifierObjective
from wildseg.cam.networks.objective import CropConfig, MapObjective, NetworkContext
from wildseg.core import lookup
from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Count, Length, Share, Side
from wildseg.encoders.cnn import backbone
from wildseg.training.optim import OptimConfig

NEEDS = frozenset({"network"})

KEY = "cam.options.classifier"
READABLE = frozenset({"gradients", "head", "rescore", "competition"})  # what a recorded pass of a classifier has


def build(
    context: NetworkContext,
    *,
    encoder: str = "tu-resnet50",
    encoder_weights: str | None = None,
    stride: Annotated[int, Between(1, 64)] = 16,
    train: Literal["head", "all"] = "all",
    map: str = "cam",
    epochs: Annotated[float, Between(0, 10000)] = 15,
    batch_size: Count = 16,
    crop: Side = 512,
    size: Annotated[Sequence[Side], Length(2, 2)] = (320, 640),
    flip: Share = 0.5,
    colour: Share = 0.0,
    lr: Annotated[float, Between(0, 10)] = 0.01,
    head_lr: Annotated[float, Between(0, 1000)] = 10.0,
    weight_decay: Annotated[float, Between(0, 1)] = 1e-4,
    optimizer: Literal["sgd", "adamw"] = "sgd",
) -> MapObjective:
    """Return the objective of a classifier.

    Args:
        context: classes, labels and the training's seed and device.
        encoder: the backbone, as in ``train.encoder``, or ``resnet38``.
        encoder_weights: of the backbone, as in ``train.encoder_weights``.
        stride: of its last stage in pixels: 8, 16 or 32, or the patch of a vision transformer; 8 for ``resnet38``.
        train: ``head`` freezes the backbone; ``all`` trains it, too.
        map: a training-free CAM method, with the defaults of its options, which reads the classifier.
        epochs: passes over the training frames.
        batch_size: frames of a step.
        crop: side of the training crops in pixels.
        size: limits of a frame's longer side before it is cropped, in pixels.
        flip: probability of a left-right flip.
        colour: jitter of brightness, contrast and saturation.
        lr: peak learning rate of the backbone.
        head_lr: factor on it for the head.
        weight_decay: of kernels.
        optimizer: with a polynomial (``sgd``) or a cosine (``adamw``) schedule.

    Raises:
        ParamsError: `map` is no CAM method, or needs what a classifier, or one of a single class, does not have.
        ModelError: the backbone or its weights cannot be had.
    """
    lookup.check("methods.cam", map, f"{KEY}.map")
    if unread := sorted(lookup.needs("methods.cam", map) - READABLE):
        raise ParamsError(f"{KEY}.map: expected a CAM method for CNNs; {map} needs {', '.join(unread)}")
    if context.num_classes < 2 and "competition" in lookup.needs("methods.cam", map):
        raise ParamsError(f"{KEY}.map: expected a method without a softmax, such as cam, because there is one class; "
                          f"{map} compares a class with others")  # fmt: skip
    cam = context.cam_method(map, f"{KEY}.map").cam
    trunk = backbone.create(encoder, context.weights(encoder_weights), stride, f"{KEY}.encoder")
    network = ClassifierNet(trunk, trunk.channels[-1], context.num_classes)
    schedule: Literal["poly", "cosine"] = "poly" if optimizer == "sgd" else "cosine"
    optim = OptimConfig(context.steps(epochs, batch_size), lr, optimizer, schedule, weight_decay=weight_decay)
    crops = CropConfig(crop, batch_size, "long", (size[0], size[1]), flip, (colour, colour, colour, 0.0))
    return ClassifierObjective(
        network, trunk.norm, optim, crops, trunk.strides[-1], context.training, cam,
        frozen=train == "head", head_lr=head_lr,
    )  # fmt: skip
