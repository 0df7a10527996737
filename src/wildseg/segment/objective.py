"""The objective of a segmentation network: a loss over labelled pixels, and the mIoU on validation frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from wildseg.segment.losses import mask_invalid_classes
from wildseg.training.context import TrainContext
from wildseg.training.objective import Batch, Objective, Term

Total = Callable[[torch.Tensor], torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, Total], dict[str, Term]]
NAME = "segmenter"  # of its network
MIOU = "val_miou"  # the metric that picks the best weights


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
            network: from images (B, 3, H, W) to logits (B, C + 1, H, W).
            loss: `loss` of a file of `methods/losses`.
            ids: the channels that mean something.
            weights: (C + 1,) factor of each id in the loss, or None.
            context: of the training.
            miou: returns the mIoU of the present network on validation frames; None where there are none.
        """
        self.network = network.to(context.device).to(memory_format=torch.channels_last)
        self.networks = {NAME: self.network}
        self._loss = loss
        self._ids = torch.tensor(list(ids), device=context.device)
        self._weights = None if weights is None else weights.to(context.device, torch.float32)
        self._context = context
        self._miou = miou

    def loss(self, batch: Batch) -> dict[str, Term]:
        """Return the terms of the chosen loss; each is this process's part of a mean over all pixels of the batch."""
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        with self._context.autocast():
            logits = self.network(images)
        logits = mask_invalid_classes(logits.float(), self._ids)
        return self._loss(logits, batch["mask"], self._weights, self._context.distributed.sum)

    def validate(self) -> dict[str, float]:
        """Return the mIoU, or nothing where there are no validation frames."""
        return {MIOU: self._miou()} if self._miou else {}
