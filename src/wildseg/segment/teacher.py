"""A mean teacher (Tarvainen and Valpola 2017, arXiv:1703.01780): consistency with the moving average of the weights.

The teacher is the exponential moving average of the network in training, the student. Where a mask leaves a pixel at
255 and the teacher is certain of it, the student's probabilities are drawn to the teacher's. Pixels outside of a frame
that is smaller than its crop are 255 as well.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from wildseg.core.classes import IGNORE
from wildseg.segment.losses import Total, mask_invalid_classes
from wildseg.training.state import Tensors
from wildseg.training.trainer import Trainer

if TYPE_CHECKING:
    from wildseg.segment.params import MeanTeacher

STUDENT, TEACHER = "segmenter", "teacher"  # the names of their networks
STUDENT_MIOU, TEACHER_MIOU = "val_miou_student", "val_miou_teacher"
NETWORK = "network."  # what the names of the averaged weights begin with in the state of a `WeightsAverage`


class WeightsAverage(nn.Module):
    """The exponential moving average of a network's weights and buffers, as a network that is never trained."""

    steps: torch.Tensor

    def __init__(self, network: nn.Module) -> None:
        """Begin with the network as it is."""
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, network: nn.Module, step: int, decay: float) -> None:
        """Move by 1 - min(decay, 1 - 1 / (step + 1)) towards the network after a step, counted from 1.

        The first steps weigh equally, so that the average soon forgets random weights. Whole numbers, such as the
        number of batches that a normalisation has seen, are copied.
        """
        factor = 1 - min(decay, 1 - 1 / (step + 1))
        for mean, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, factor)
            else:
                mean.copy_(value)
        self.steps.fill_(step)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the averaged network's logits."""
        logits: torch.Tensor = self.network(images)
        return logits


class Consistency:
    """The teacher of one student, and the term of the loss that it adds."""

    def __init__(self, student: nn.Module, config: MeanTeacher, steps: int, miou: Callable[[nn.Module], float]) -> None:
        """Make the teacher equal to its student.

        Args:
            student: on its device.
            config: the parameters.
            steps: of the whole training.
            miou: measures a network on validation frames, where there are such.
        """
        self.average = WeightsAverage(student).to(next(student.parameters()).device)
        self.config = config
        self.ramp = max(1.0, config.ramp_up * steps)
        self._miou = miou

    def follow(self, student: nn.Module, step: int) -> None:
        """Update the teacher after a step of its student, counted from 1."""
        self.average.update(student, step, self.config.decay)

    def term(
        self, logits: torch.Tensor, teacher: torch.Tensor, target: torch.Tensor, ids: torch.Tensor, total: Total
    ) -> torch.Tensor:
        """Return the weighted mean over unlabelled pixels of the squared distance of two distributions.

        A pixel where the teacher's highest probability is below `min_confidence` has a distance of 0. The weight rises
        as exp(-5 (1 - t)^2), the paper's ramp-up, with t from 0 to 1 in the first share `ramp_up` of the steps.

        Args:
            logits: of the student, (B, C + 1, H, W).
            teacher: logits of the teacher, the same.
            target: (B, H, W) int64 ids, 255 unlabelled.
            ids: (k,) the channels that mean something.
            total: sums a number of pixels over all processes; the result is this process's part of the mean.
        """
        with torch.no_grad():
            wanted = mask_invalid_classes(teacher.float(), ids).softmax(1)
            unlabelled = target == IGNORE
            certain = unlabelled & (wanted.amax(1) >= self.config.min_confidence)
            done = (self.average.steps / self.ramp).clamp(max=1)
            weight = self.config.weight * torch.exp(-5 * (1 - done) ** 2)
            pixels = total(unlabelled.sum().float())
        distance = (mask_invalid_classes(logits.float(), ids).softmax(1) - wanted).square().sum(1)  # (B, H, W)
        return weight * (distance * certain).sum() / torch.where(pixels > 0, pixels, 1)

    def validate(self, student: float) -> dict[str, float]:
        """Return the mIoU of both, given the student's; see `weights`."""
        return {STUDENT_MIOU: student, TEACHER_MIOU: self._miou(self.average.network)}


def weights(trainer: Trainer) -> Tensors:
    """Return the weights that a finished training leaves: of student and teacher those of the higher validation mIoU.

    Of equals, and where nothing was validated, they are the teacher's, as in the paper.
    """
    if TEACHER not in trainer.objective.networks:
        return trainer.weights(STUDENT)
    best = trainer.best.step if trainer.best else None
    metrics = next((event.metrics for event in trainer.history if event.step == best), {})
    if metrics.get(STUDENT_MIOU, -math.inf) > metrics.get(TEACHER_MIOU, -math.inf):
        return trainer.weights(STUDENT)
    state = trainer.weights(TEACHER)
    return {name.removeprefix(NETWORK): value for name, value in state.items() if name.startswith(NETWORK)}
