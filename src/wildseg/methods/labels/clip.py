"""CLIP zero-shot labels (Radford et al. 2021, section 3.1): the similarity of a frame and a sentence per class.

With a softmax, ``p = softmax(scale * <f, T_c>)`` over classes and background phrases: probabilities sum to 1,
so that at most four can pass 0.2. With a sigmoid, for models that learned a logit bias (SigLIP, Zhai et al. 2023), each
class is judged on its own.

Small objects are missed in the whole frame, so that tiles are classified as well: cropped and enlarged, one forward
pass each; or in a single pass over the frame, with the class token of the last block restricted to the patches of one
tile at a time. The latter is many times faster, and for models trained on captions of regions.

With a grid (`label.grid`) each tile of it is scored by views inside of it alone, in the same two ways.
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
from wildseg.labels.tiles import WHOLE as WHOLE_GRID
from wildseg.labels.tiles import boxes
from wildseg.labels.views import WHOLE, Box, box_in_view, box_inside, cells_in_box, crop_view, tile_boxes

NEEDS = frozenset({"encoder"})
THRESHOLDS = {"softmax": 0.2, "sigmoid": 0.5}
TILES = {"crop": 2, "attention": 6}  # a side; more of what costs next to nothing
BY_TILE = True  # by attention, one pass is enough for all tiles of a grid
BATCH = 16  # views per pass; those of one frame only, so that no frame's scores depend on its neighbours


def label(
    frames: Sequence[NamedImage],
    request: LabelRequest,
    *,
    tiles: Annotated[int, Between(1, 16)] | Literal["auto"] = "auto",
    tiles_by: Literal["auto", "crop", "attention"] = "auto",
    activation: Literal["auto", "softmax", "sigmoid"] = "auto",
    resize: Literal["squash", "crop", "pad"] = "squash",
) -> Iterator[LabelResult]:
    """Yield for each of `frames` the maximum probability of each class over its views.

    Args:
        frames: the frames.
        request: the classes, their phrases and competitors, and the encoder.
        tiles: 1 is the whole frame alone; n > 1 adds (2n-1) x (2n-1) overlapping tiles of 1/n its sides; ``auto``:
            2 by crop, 6 by attention. With a grid they are inside of each tile of it, and ``auto`` divides by the
            longer side of the grid, rounded up.
        tiles_by: ``crop`` enlarges each tile to the model's input size; ``attention`` restricts the attention of the
            last block's class token, in one pass over the whole frame; ``auto``: by attention where the weights declare
            that they were trained on captions of regions.
        activation: ``softmax``, ``sigmoid``, or ``auto``: sigmoid where the model has a logit bias.
        resize: how a view is resized to the model's input size: ``squash``, ``crop`` or ``pad``.

    Raises:
        ParamsError: an option has an invalid value, a sigmoid for a model without logit bias, or tiles of a grid by
            attention in a cropped frame.
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
    if tiles_by == "attention" and resize == "crop" and request.grid != WHOLE_GRID:
        raise ParamsError(
            "label.options.clip.resize: crop cuts off sides of a frame, so that tiles by attention would be of other "
            "places; with label.grid choose squash or pad, or tiles_by: crop"
        )
    inside = tile_boxes(-(-TILES[tiles_by] // max(request.grid)) if isinstance(tiles, str) else tiles)
    views = [box_inside(box, tile) for tile in boxes(request.grid) for box in inside]
    features_of = _features_by_crop if tiles_by == "crop" else _features_by_attention
    for frame in frames:
        features = features_of(clip, frame.load(), views, resize)  # (views, d)
        probability = probabilities(clip.logits(features, texts), resolved)  # (views, classes + background)
        scores = probability[:, : len(request.class_names)]
        of_tiles = _numpy(scores.unflatten(0, (*request.grid, -1)).amax(2)) if request.grid != WHOLE_GRID else None
        yield LabelResult(_numpy(scores.amax(0)), THRESHOLDS[resolved], tiles=of_tiles)


def _features_by_crop(clip: Clip, image: np.ndarray, tiles: Sequence[Box], resize: str) -> Tensor:
    views = [crop_view(image, box, clip.size, resize, clip.mean) for box in tiles]
    batches = [views[start : start + BATCH] for start in range(0, len(views), BATCH)]
    return torch.cat([clip.image_features(clip.pixels(batch)) for batch in batches])


def _features_by_attention(clip: Clip, image: np.ndarray, tiles: Sequence[Box], resize: str) -> Tensor:
    pixels = clip.pixels([crop_view(image, WHOLE, clip.size, resize, clip.mean)])
    # A cropped frame is what the model sees of it, and its tiles are of that.
    shape, within = (image.shape[0], image.shape[1]), "squash" if resize == "crop" else resize
    places = [box_in_view(box, shape, clip.size, within) for box in tiles]
    regions = torch.from_numpy(np.stack([cells_in_box(box, clip.vit.native_grid) for box in places])).to(clip.device)
    return clip.region_features(pixels, regions)[0]


def _numpy(scores: Tensor) -> np.ndarray:
    return scores.double().clamp(0, 1).cpu().numpy()
