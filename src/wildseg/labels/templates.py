"""What each prompt template makes of a frame: the probabilities of the classes."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from wildseg.encoders.clip import Clip
from wildseg.labels.views import WHOLE, crop_view


def template_probabilities(clip: Clip, image: np.ndarray, texts: Tensor) -> Tensor:
    """Return the softmax over the classes of one view of the whole frame, for each template: (T, C).

    Args:
        clip: the model.
        image: (H, W, 3) uint8 RGB.
        texts: (C, T, d) unit features, see `Clip.sentence_features`.
    """
    pixels = clip.pixels([crop_view(image, WHOLE, clip.size, "squash", clip.mean)])
    logits = clip.logits(clip.image_features(pixels), texts.flatten(0, 1)).unflatten(-1, texts.shape[:2])[0]  # (C, T)
    return logits.T.cpu().double().softmax(-1)
