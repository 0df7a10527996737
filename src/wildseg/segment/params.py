"""The sections train and eval of params.yaml: the network and its training, and what is measured of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from wildseg.core import lookup
from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Count, Natural, Options, Scales, Share
from wildseg.segment.vocabulary import check_open, open_architectures

LARGEST_BATCH = 2**29  # pixels, over all processes of a training: 6 GB of input alone


@dataclass(frozen=True)
class MeanTeacher:
    """Consistency with the moving average of the weights, where masks are 255."""

    decay: Annotated[float, Between(0, 0.999999)]
    weight: Annotated[float, Between(0, 1000)]
    min_confidence: Share
    ramp_up: Share


@dataclass(frozen=True)
class Train:
    """From pseudo masks to a segmentation model."""

    architecture: str
    encoder: str
    encoder_weights: str | None
    options: Options
    supervision: Literal["masks", "scribbles", "points"]
    loss: str
    min_confidence: Annotated[float, Between(0, 2)]  # above 1 no pixel counts
    hold_out: tuple[str, ...]
    class_weights: Literal["none", "sqrt_inverse", "class_balanced"]
    class_balanced_beta: Annotated[float, Between(0, 0.999999999)]
    teacher: Literal["mean_teacher"] | None
    mean_teacher: MeanTeacher
    rounds: Annotated[int, Between(1, 100)]
    round_confidence: Share
    steps: Annotated[int, Between(1, 10**8)]
    batch_size: Annotated[int, Between(1, 4096)]
    crop: Annotated[int, Between(1, 8192)]
    lr: Annotated[float, Between(1e-12, 10)]
    encoder_lr: Annotated[float, Between(0, 1000)]
    freeze_norms: bool
    weight_decay: Annotated[float, Between(0, 100)]
    scale: tuple[Annotated[float, Between(0.05, 20)], ...]
    flip: Share
    colour: Share
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    validate_every: Count
    checkpoint_every: Count

    def check(self) -> None:
        """Raise a ParamsError for choices that contradict each other, too large a batch, a range that is none."""
        if self.supervision != "masks" and "confidence" in lookup.needs("methods.losses", self.loss):
            raise ParamsError(
                f"train.loss: {self.loss} needs the confidence of pseudo masks, which {self.supervision} "
                "do not have; choose cross_entropy, or train.supervision: masks"
            )
        if (self.encoder_lr != 1 or self.freeze_norms) and self.architecture in open_architectures():
            key, default = ("freeze_norms", "false") if self.freeze_norms else ("encoder_lr", "1.0")
            raise ParamsError(
                f"train.{key}: expected {default} with {self.architecture}, whose encoder is never trained"
            )
        if self.freeze_norms and not self.encoder_weights:
            raise ParamsError(
                "train.freeze_norms: expected false where train.encoder_weights is null: the normalisations would keep "
                "the statistics of no image"
            )
        if self.hold_out:
            check_open(self.architecture, "train.hold_out")
        if (pixels := self.batch_size * self.crop**2) > LARGEST_BATCH:
            raise ParamsError(
                f"train.crop: expected at most {math.isqrt(LARGEST_BATCH // self.batch_size)} pixels with a "
                f"train.batch_size of {self.batch_size}, found {self.crop}: a batch would have {pixels:,} "
                "pixels, more than any memory takes"
            )
        if len(self.scale) != 2 or self.scale[0] > self.scale[1]:
            raise ParamsError(f"train.scale: expected [smallest, largest], found {list(self.scale)}")


@dataclass(frozen=True)
class Eval:
    """What is measured and shown at the end."""

    pictures: Natural
    report_frames: Natural
    label_free_frames: Natural
    second_labels: str
    min_presence: Share
    scales: Scales
    flip: bool
