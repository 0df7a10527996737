"""Validation of a network in training: mIoU against masks that it was not trained on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from wildseg.metrics.confusion import Confusion
from wildseg.metrics.confusion import miou as mean_iou
from wildseg.segment.predict import Predictor
from wildseg.training.distributed import SINGLE_PROCESS, DistributedContext


class Pairs(Protocol):
    """Images (H, W, 3) uint8 RGB with their masks (H, W) uint8 ids, read on access."""

    def __len__(self) -> int: ...  # noqa: D105
    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray]: ...  # noqa: D105


def miou(predictor: Predictor, pairs: Pairs, num_ids: int, distributed: DistributedContext = SINGLE_PROCESS) -> float:
    """Return the mIoU of the predictions over all pairs: one confusion matrix, classes found in either, 255 left out.

    Args:
        predictor: the network as it is now.
        pairs: image (H, W, 3) uint8 RGB and mask (H, W) uint8 ids, read one batch at a time.
        num_ids: C + 1.
        distributed: the processes, which all call this, with the same pairs; each predicts its share of them.
    """
    confusion = Confusion(num_ids)
    masks: deque[np.ndarray] = deque()

    def images() -> Iterator[np.ndarray]:
        for index in distributed.share(len(pairs)):
            image, mask = pairs[index]
            masks.append(mask)
            yield image

    for preds in predictor.predict(images()):
        confusion.add(masks.popleft(), preds)
    return mean_iou(distributed.sum_array(confusion.matrix))
