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

from wildseg.segment.losses import mask_invalid_classes
from wildseg.training.context import TrainContext
from wildseg.training.objective import Batch, Objective, ParamGroup, Term, decay_groups

Total = Callable[[torch.Tensor], torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, Total], dict[str, Term]]
NAME = "segmenter"  # of its network
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


@runtime_checkable
class ConfiguresOptimizer(Protocol):
    """A network that is optimised as its paper has it, in what the section `train` leaves open."""

    def optimizer_settings(self) -> Mapping[str, Any]:
        """Return fields of `wildseg.training.optim.OptimConfig`, such as ``clip``; not steps, lr or weight decay."""
        ...

    def undecayed(self) -> Iterable[torch.nn.Parameter]:
        """Return the parameters without weight decay, beside biases and factors of normalisations."""
        ...


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
        """
        self.network = network.to(context.device).to(memory_format=torch.channels_last)
        self.networks = {NAME: self.network}
        factors = None if weights is None else weights.to(context.device, torch.float32)
        allowed = torch.tensor(list(ids), device=context.device)
        self._criterion = Criterion(loss, allowed, factors, context.distributed.sum)
        self._context = context
        self._miou = miou

    def loss(self, batch: Batch) -> dict[str, Term]:
        """Return the terms of the chosen loss, or the network's own; each is this process's part of a mean over all."""
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        own = self.network if isinstance(self.network, SupervisesItself) else None
        with self._context.autocast():
            outputs = own.training_outputs(images) if own else self.network(images)
        if own:
            return own.loss_terms(outputs, batch["mask"], self._criterion)
        return self._criterion(outputs, batch["mask"])

    def param_groups(self) -> list[ParamGroup]:
        """Return the parameters with weight decay and those without."""
        own = self.network if isinstance(self.network, ConfiguresOptimizer) else None
        return decay_groups([self.network], undecayed=own.undecayed() if own else ())

    def validate(self) -> dict[str, float]:
        """Return the mIoU, or nothing where there are no validation frames."""
        return {MIOU: self._miou()} if self._miou else {}
