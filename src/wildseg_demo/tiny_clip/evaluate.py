"""How well the tiny CLIP names what is in frames of worlds that it has not seen."""

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn import functional as F

from wildseg_demo.tiny_clip.batch import normalise
from wildseg_demo.tiny_clip.captions import SYNONYMS
from wildseg_demo.tiny_clip.dataset import CLASSES, Frames
from wildseg_demo.world.noise import Field
from wildseg_demo.world.surfaces import NAMES, Surface

TEMPLATES = ("a photo of {}.", "a photo of the {}.", "there is {} in the scene.", "a robot view of {}.")
# A surface is in a frame from this share of its pixels; below a tenth of it, it is not; between, nobody is asked.
_PRESENT_FROM = np.full(CLASSES, 0.003, np.float32)
_PRESENT_FROM[Surface.LANE_LINE - 1] = 0.001
_ABSENT_BELOW = 0.0003


@torch.no_grad()
def class_vectors(model: open_clip.CLIP, tokenizer: SimpleTokenizer) -> Tensor:
    """A unit vector per surface, (CLASSES, D): its two main names in one sentence, averaged over templates."""
    phrases = [", ".join(SYNONYMS[surface][:2]) for surface in Surface]
    vectors = torch.stack(
        [model.encode_text(tokenizer([t.format(words) for words in phrases]), normalize=True) for t in TEMPLATES]
    )
    return F.normalize(vectors.mean(0), dim=-1)


@torch.no_grad()
def tile_scores(model: open_clip.CLIP, vectors: Tensor, images: NDArray[np.uint8]) -> Field:
    """Probability that each surface is in each frame: the highest of four quarters, each enlarged to full size.

    Args:
        model: in evaluation mode.
        vectors: (K, D) unit vectors.
        images: (N, H, W, 3) uint8 RGB.

    Returns:
        (N, K) in [0, 1].
    """
    scores = [_tile_scores(model, vectors, normalise(images[start : start + 8])) for start in range(0, len(images), 8)]
    return np.concatenate(scores)


def _tile_scores(model: open_clip.CLIP, vectors: Tensor, images: Tensor) -> Field:
    height, width = images.shape[-2] // 2, images.shape[-1] // 2
    best = torch.zeros(len(images), len(vectors))
    for top in (0, height):
        for left in (0, width):
            tile = images[..., top : top + height, left : left + width]
            enlarged = F.interpolate(tile, images.shape[-2:], mode="bilinear", align_corners=False)
            cosine = model.encode_image(enlarged, normalize=True) @ vectors.T
            best = torch.maximum(best, torch.sigmoid(model.logit_scale.exp() * cosine + model.logit_bias))
    return best.numpy()


def presence(masks: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What truth masks (N, H, W) say about frames: (N, CLASSES) bool present, and bool worth asking about."""
    share = np.stack([np.bincount(mask.ravel(), minlength=CLASSES + 1)[1:] / mask.size for mask in masks])
    present = share > _PRESENT_FROM
    return present, present | (share < _ABSENT_BELOW)


def average_precision(scores: Field, present: NDArray[np.bool_]) -> float:
    """Mean of the precision at every present frame, frames (N,) in order of falling score."""
    hits = present[np.argsort(-scores, kind="stable")]
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def evaluate_labels(model: open_clip.CLIP, tokenizer: SimpleTokenizer, frames: Frames) -> dict[str, object]:
    """Average precision per surface and its mean; the best F1 over all labels, and the threshold that gives it."""
    scores = tile_scores(model, class_vectors(model, tokenizer), frames.images)
    present, asked = presence(frames.masks)
    precision = {
        name: round(average_precision(scores[asked[:, k], k], present[asked[:, k], k]), 4)
        for k, name in enumerate(NAMES)
        if present[:, k].any()
    }
    threshold = max(np.linspace(0.05, 0.95, 19), key=lambda at: f1((scores > at) & asked, present))
    return {
        "frames": len(frames),
        "map": round(float(np.mean(list(precision.values()))), 4),
        "f1": round(f1((scores > threshold) & asked, present), 4),
        "threshold": round(float(threshold), 2),
        "average_precision": precision,
    }


def f1(predicted: NDArray[np.bool_], present: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall over all labels of all frames."""
    return float(2 * (predicted & present).sum() / max(1, predicted.sum() + present.sum()))
