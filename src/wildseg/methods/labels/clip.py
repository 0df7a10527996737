"""CLIP zero-shot labels (Radford et al. 2021, section 3.1): how well does a sentence about each class fit the frame.

With a softmax, ``p = softmax(scale * <f, T_c>)`` over classes and background phrases: they share one unit of belief,
so that at most four can pass 0.2. With a sigmoid, for models that learned a logit bias (SigLIP, Zhai et al. 2023), each
class is judged on its own.

Small things get lost in a whole frame, so tiles of it are looked at too. They can be cut out and enlarged, one pass
each; or one pass over the frame serves all of them, and only in the last block the class token is shown one tile's
patches at a time. The latter is many times faster, and for models that were taught with captions of regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from wildseg.core.errors import ParamsError, one_of
from wildseg.core.limits import Between
from wildseg.encoders.clip import Clip
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.probability import ACTIVATIONS, probabilities, resolve_activation
from wildseg.labels.views import WHOLE, Box, cells_in_box, crop_view, tile_boxes

NEEDS = frozenset({"encoder"})
THRESHOLDS = {"softmax": 0.2, "sigmoid": 0.5}
TILES = {"crop": 2, "attention": 6}  # a side; more of what costs next to nothing
BATCH = 16  # looks per pass; those of one frame only, so that no frame's scores depend on its neighbours


def label(
    frames: Sequence[NamedImage],
    request: LabelRequest,
    *,
    tiles: Annotated[int, Between(1, 16)] | Literal["auto"] = "auto",
    tiles_by: Literal["auto", "crop", "attention"] = "auto",
    activation: Literal["auto", "softmax", "sigmoid"] = "auto",
    resize: Literal["squash", "crop", "pad"] = "squash",
) -> Iterator[LabelResult]:
    """Yield for each of `frames` the best probability of each class over all looks at it.

    Args:
        frames: what to look at.
        request: the classes, their phrases and competitors, and the encoder.
        tiles: 1 looks at the whole frame; n > 1 also at (2n-1) x (2n-1) overlapping tiles of 1/n its sides; ``auto``:
            2 by crop, 6 by attention.
        tiles_by: ``crop`` enlarges each tile to the model's input size; ``attention`` restricts what the class token
            of the last block sees, in one pass over the whole frame; ``auto``: by attention where the weights declare
            that they were taught with captions of regions.
        activation: ``softmax``, ``sigmoid``, or ``auto``: sigmoid where the model has a logit bias.
        resize: how a look is brought to the model's input size: ``squash``, ``crop`` or ``pad``.

    Raises:
        ParamsError: an option's value means nothing, or asks for a sigmoid of a model without logit bias.
    """
    if tiles != "auto" and (isinstance(tiles, bool) or not isinstance(tiles, int) or tiles < 1):
        raise ParamsError(f"label.options.clip.tiles: expected auto or a whole number from 1, found {tiles!r}")
    one_of("label.options.clip.tiles_by", tiles_by, ("auto", "crop", "attention"))
    one_of("label.options.clip.resize", resize, ("squash", "crop", "pad"))
    one_of("label.options.clip.activation", activation, ACTIVATIONS)
    clip = request.encoder()
    resolved = resolve_activation(clip, activation, "clip")
    texts = clip.classifier((*request.phrases, *((phrase,) for phrase in request.background)), request.templates)
    if tiles_by == "auto":
        tiles_by = "attention" if clip.region_trained else "crop"
    views = tile_boxes(TILES[tiles_by] if isinstance(tiles, str) else tiles)
    features_of = _features_by_crop if tiles_by == "crop" else _features_by_attention
    for frame in frames:
        features = features_of(clip, frame.load(), views, resize)  # (looks, d)
        probability = probabilities(clip.logits(features, texts), resolved)  # (looks, classes + background)
        yield LabelResult(_numpy(probability[:, : len(request.class_names)].amax(0)), THRESHOLDS[resolved])


def _features_by_crop(clip: Clip, image: np.ndarray, tiles: Sequence[Box], resize: str) -> Tensor:
    views = [crop_view(image, box, clip.size, resize, clip.mean) for box in tiles]
    batches = [views[start : start + BATCH] for start in range(0, len(views), BATCH)]
    return torch.cat([clip.image_features(clip.pixels(batch)) for batch in batches])


def _features_by_attention(clip: Clip, image: np.ndarray, tiles: Sequence[Box], resize: str) -> Tensor:
    pixels = clip.pixels([crop_view(image, WHOLE, clip.size, resize, clip.mean)])
    regions = torch.from_numpy(np.stack([cells_in_box(box, clip.vit.native_grid) for box in tiles])).to(clip.device)
    return clip.region_features(pixels, regions)[0]


def _numpy(scores: Tensor) -> np.ndarray:
    return scores.double().clamp(0, 1).cpu().numpy()
