"""How well a network agrees with masks it was not trained on, while it is being trained."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from wildseg.metrics.confusion import Confusion
from wildseg.metrics.confusion import miou as mean_iou
from wildseg.segment.predict import Predictor
from wildseg.training.team import ALONE, Team


class Pairs(Protocol):
    """Images (H, W, 3) uint8 RGB with their masks (H, W) uint8 ids, each read when it is asked for."""

    def __len__(self) -> int: ...  # noqa: D105
    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray]: ...  # noqa: D105


def miou(predictor: Predictor, pairs: Pairs, num_ids: int, team: Team = ALONE) -> float:
    """Return the mIoU of the predictions over all pairs: one confusion matrix, classes found in either, 255 left out.

    Args:
        predictor: the network as it is now.
        pairs: image (H, W, 3) uint8 RGB and mask (H, W) uint8 ids, read one batch at a time.
        num_ids: C + 1.
        team: the processes that all call this, with the same pairs; each predicts its share of them.
    """
    confusion = Confusion(num_ids)
    masks: deque[np.ndarray] = deque()

    def images() -> Iterator[np.ndarray]:
        for index in team.share(len(pairs)):
            image, mask = pairs[index]
            masks.append(mask)
            yield image

    for preds in predictor.predict(images()):
        confusion.add(masks.popleft(), preds)
    return mean_iou(team.sum_array(confusion.matrix))
