"""How well a network agrees with masks it was not trained on, while it is being trained."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from wildseg.metrics.confusion import Confusion
from wildseg.metrics.confusion import miou as mean_iou
from wildseg.segment.predict import Predictor


def miou(predictor: Predictor, pairs: Iterable[tuple[np.ndarray, np.ndarray]], num_ids: int) -> float:
    """Return the mIoU of the predictions over all pairs: one confusion matrix, classes found in either, 255 left out.

    Args:
        predictor: the network as it is now.
        pairs: image (H, W, 3) uint8 RGB and mask (H, W) uint8 ids, read one batch at a time.
        num_ids: C + 1.
    """
    confusion = Confusion(num_ids)
    masks: deque[np.ndarray] = deque()

    def images() -> Iterator[np.ndarray]:
        for image, mask in pairs:
            masks.append(mask)
            yield image

    for preds in predictor.predict(images()):
        confusion.add(masks.popleft(), preds)
    return mean_iou(confusion.matrix)
