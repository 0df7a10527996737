"""The objective of a segmentation network: a loss over labelled pixels, and the mIoU on validation frames.

The chosen loss is that of the logits. An architecture that learns from more than these brings terms of its own: its
network is a `SupervisesItself`. One whose paper prescribes more of the optimiser than `train` has parameters for brings
these settings: its network is a `ConfiguresOptimizer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from wildseg.core.errors import ParamsError
from wildseg.segment.losses import Total, mask_invalid_classes
from wildseg.segment.teacher import STUDENT, TEACHER, Consistency
from wildseg.training.context import TrainContext
from wildseg.training.objective import Batch, Objective, ParamGroup, Term, decay_groups, freeze_norms

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, Total], dict[str, Term]]
NAME = STUDENT  # of its network
MIOU = "val_miou"  # the metric that picks the best weights


@dataclass(frozen=True)
class Criterion:
    """The chosen loss, ready to be applied to logits.

    Attributes:
        loss: `loss` of a file of `methods/losses`.
        ids: (k,) the channels that mean something.
        weights: (C + 1,) factor of each id, or None.
        total: sums a tensor over all processes, such as the number of pixels of a mean; gradients do not pass.
    """

    loss: Loss
    ids: torch.Tensor
    weights: torch.Tensor | None
    total: Total

    def __call__(self, logits: torch.Tensor, target: torch.Tensor) -> dict[str, Term]:
        """Return the terms of logits (B, C + 1, H, W) and ids (B, H, W) int64, 255 ignore."""
        return self.loss(mask_invalid_classes(logits.float(), self.ids), target, self.weights, self.total)


@runtime_checkable
class SupervisesItself(Protocol):
    """A network with a training loss of its own: auxiliary outputs, pooled labels, or a matching of masks.

    Its `forward` still returns logits (B, C + 1, H, W), whose softmax are the probabilities; prediction, validation,
    export and explanation need nothing else.
    """

    def training_outputs(self, images: torch.Tensor) -> Any:  # noqa: ANN401
        """Return whatever `loss_terms` needs, of normalised images (B, 3, H, W), in the precision of the training."""
        ...

    def loss_terms(self, outputs: Any, target: torch.Tensor, criterion: Criterion) -> dict[str, Term]:  # noqa: ANN401
        """Return the named and weighted terms of the loss, in float32; their sum is minimised, and each is a curve.

        Args:
            outputs: of `training_outputs`.
            target: (B, H, W) int64 ids, 255 ignore.
            criterion: the chosen loss. Terms beside it divide by `criterion.total` of what they are means over.
        """
        ...


@dataclass(frozen=True)
class FineTuning:
    """How an encoder is trained that came with weights, beside the rest of its network.

    Attributes:
        encoder_lr: factor on the learning rate; 0 leaves its weights as they are.
        freeze_norms: whether its batch normalisations keep the statistics that came with its weights.
    """

    encoder_lr: float = 1.0
    freeze_norms: bool = False


@runtime_checkable
class ConfiguresOptimizer(Protocol):
    """A network that is optimised as its paper has it, in what the section `train` leaves open."""

    def optimizer_settings(self) -> Mapping[str, Any]:
        """Return fields of `wildseg.training.optim.OptimConfig`, such as ``clip``; not steps, lr or weight decay."""
        ...

    def undecayed(self) -> Iterable[torch.nn.Parameter]:
        """Return the parameters without weight decay, beside biases and factors of normalisations."""
        ...


AS_THE_REST = FineTuning()


class SegmenterObjective(Objective):
    """Trains one network on batches of `image` (B, 3, H, W) normalised and `mask` (B, H, W) int64 ids, 255 ignore."""

    def __init__(
        self,
        network: torch.nn.Module,
        loss: Loss,
        ids: Sequence[int],
        weights: torch.Tensor | None,
        context: TrainContext,
        miou: Callable[[], float] | None = None,
        teach: Callable[[torch.nn.Module], Consistency] | None = None,
        fine_tuning: FineTuning = AS_THE_REST,
    ) -> None:
        """Move the network to the context's device.

        Args:
            network: from images (B, 3, H, W) to logits (B, C + 1, H, W); with terms of its own if it is a
                `SupervisesItself`.
            loss: `loss` of a file of `methods/losses`.
            ids: the channels that mean something.
            weights: (C + 1,) factor of each id in the loss, or None.
            context: of the training.
            miou: returns the mIoU of the present network on validation frames; None where there are none.
            teach: gives the network a teacher; None where it has none.
            fine_tuning: of the network's `encoder`, which only such a network needs that is not trained as a whole.

        Raises:
            ParamsError: normalisations are to be frozen, and the encoder has none that could be.
        """
        self.network = network.to(context.device).to(memory_format=torch.channels_last)
        factors = None if weights is None else weights.to(context.device, torch.float32)
        allowed = torch.tensor(list(ids), device=context.device)
        self._criterion = Criterion(loss, allowed, factors, context.distributed.sum)
        self._context = context
        self._miou = miou
        self._fine_tuning = fine_tuning
        if fine_tuning.freeze_norms and not freeze_norms(self._encoder):
            raise ParamsError(
                "train.freeze_norms: expected an encoder with batch normalisation; this train.encoder has none, "
                "so false is the same"
            )
        self._teacher = teach(self.network) if teach else None
        self.networks = {NAME: self.network, **({TEACHER: self._teacher.average} if self._teacher else {})}

    def loss(self, batch: Batch) -> dict[str, Term]:
        """Return the terms of the chosen loss, or the network's own; each is this process's part of a mean over all."""
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        own = self.network if isinstance(self.network, SupervisesItself) else None
        with self._context.autocast():
            outputs = own.training_outputs(images) if own else self.network(images)
        mask = batch["mask"]
        terms = own.loss_terms(outputs, mask, self._criterion) if own else self._criterion(outputs, mask)
        if self._teacher is None:
            return terms
        with self._context.autocast():
            student = self.network(images) if own else outputs  # outputs of its own need not have the logits
            with torch.no_grad():
                wanted = self._teacher.average(images)
        ids, total = self._criterion.ids, self._criterion.total
        return {**terms, "consistency": self._teacher.term(student, wanted, mask, ids, total)}

    def train_mode(self) -> None:
        """Put the network into training mode; a teacher always evaluates, and frozen normalisations do."""
        self.network.train()
        if self._fine_tuning.freeze_norms:
            freeze_norms(self._encoder)
        if self._teacher:
            self._teacher.average.eval()

    def after_step(self, step: int) -> None:
        """Update the teacher."""
        if self._teacher:
            self._teacher.follow(self.network, step)

    def param_groups(self) -> list[ParamGroup]:
        """Return the parameters with weight decay and those without, of the encoder apart if its rate is another."""
        own = self.network if isinstance(self.network, ConfiguresOptimizer) else None
        undecayed = list(own.undecayed()) if own else []
        if (factor := self._fine_tuning.encoder_lr) == 1:
            return decay_groups([self.network], undecayed=undecayed)
        rest = decay_groups([self.network], undecayed=undecayed, without=[self._encoder])
        return decay_groups([self._encoder], factor, undecayed) + rest

    @property
    def _encoder(self) -> torch.nn.Module:
        return self.network.encoder  # type: ignore[return-value] # of any architecture whose encoder is trained

    def validate(self) -> dict[str, float]:
        """Return the mIoU, of student and teacher the higher; nothing where there are no validation frames."""
        if self._miou is None:
            return {}
        student = self._miou()
        both = self._teacher.validate(student) if self._teacher else {}
        return {MIOU: max([student, *both.values()]), **both}
