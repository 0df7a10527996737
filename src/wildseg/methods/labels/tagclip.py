"""TagCLIP (Lin et al. 2024): patches are classified, and each detected class is classified again in a crop.

1. Coarse scores: in the last block each token attends to itself alone, so that a patch's feature stays its own;
   ``P[i, c]`` is the probability of class c at patch i, with background phrases in the softmax.
2. Refinement of P along the attention of the blocks, see `wildseg.labels.refinement`; ``l_c = max_i P'[i, c]``.
3. Re-identification: the bounding box of the patches of class c is cropped and enlarged to the model's own size, and in
   every block the class token attends to patches of the class alone: probability ``g_c``. Its score is
   (l_c + g_c) / 2, that of classes without a crop is l_c.

Scores are comparable between frames; present are classes above the middle between the frame's lowest and highest
score. Published with a ViT-B/16 of 12 blocks: the attention of blocks 8 to 10 (from 0) averaged, 4 blocks must agree.
For other depths L: blocks 2L/3 to L - 2, at least one, and L/3 votes.

With a grid (`label.grid`) each tile of it is a frame of its own; or, by attention, steps 1 and 2 are made of the whole
frame, and l and the crops of step 3 are of the patches inside of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.core.errors import ModelError, ParamsError, one_of
from wildseg.core.limits import Count, Share, Side
from wildseg.encoders import vit
from wildseg.encoders.attention import queries_keys_values
from wildseg.encoders.clip import Clip, resize
from wildseg.encoders.positions import POS_EMBED_MODES
from wildseg.encoders.vit import ViT
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.probability import ACTIVATIONS, probabilities, resolve_activation
from wildseg.labels.refinement import VotingRecorder, bounding_box, min_max, refine
from wildseg.labels.tiles import WHOLE, boxes, crops, merge
from wildseg.labels.views import Box, cells_in_box

NEEDS = frozenset({"encoder"})
BY_TILE = True  # by attention, patches are scored once for all tiles of a grid
SHARE = 0.5  # of a frame's range of scores, above which a class is present
BATCH = 16  # crops per pass

# By tile and class: a box (top, left, bottom, right) in patches, and the patches of the class inside of it, bool.
Regions = Mapping[tuple[int, int], tuple[tuple[int, int, int, int], Tensor]]


def label(
    frames: Sequence[NamedImage],
    request: LabelRequest,
    *,
    reidentify: Share = 0.5,
    region: Share = 0.5,
    layers: Count | Literal["auto"] = "auto",
    votes: Count | Literal["auto"] = "auto",
    tiles_by: Literal["crop", "attention"] = "crop",
    activation: Literal["auto", "softmax", "sigmoid"] = "auto",
    pos_embed_interpolation: Literal["bicubic", "bilinear_half"] = "bicubic",
    max_side: Side | None = 640,
    exclusive_box_ends: bool = False,
    early_return: bool = False,
) -> Iterator[LabelResult]:
    """Yield the scores of each class in each of `frames`.

    Args:
        frames: the frames.
        request: the classes, their phrases and competitors, and the encoder.
        reidentify: classes whose local score exceeds this share of the range of all refined patch scores are classified
            again in a crop (0.1 was published for COCO-Stuff); 0 to 1.
        region: patches of a class are those above this share of its own range; 0 to 1.
        layers: number of blocks whose attention is averaged, those before the last, or ``auto``.
        votes: number of blocks that must find two patches related, or ``auto``.
        tiles_by: with a grid, ``crop`` labels each tile as a frame of its own, at its own size; ``attention`` scores
            the patches of the whole frame in one pass, and re-identifies in a tile what is in it.
        activation: ``softmax``, ``sigmoid``, or ``auto``: sigmoid where the model has a logit bias.
        pos_embed_interpolation: how position embeddings are brought to the grid of a frame that is not of the model's
        native size;
            the published code has ``bilinear_half``.
        max_side: larger frames are shrunk so that their longer side is this, in pixels; None for no limit.
        exclusive_box_ends: end boxes before the last row and column, as the published code does.
        early_return: leave all further classes with their local score once one has an empty region, as the published
            code does.

    Raises:
        ModelError: the model is no vision transformer.
        ParamsError: an option has an invalid value.
    """
    _check_shares(reidentify=reidentify, region=region)
    _check_count("layers", layers, "auto")
    _check_count("votes", votes, "auto")
    _check_count("max_side", max_side, None)
    one_of("label.options.tagclip.pos_embed_interpolation", pos_embed_interpolation, POS_EMBED_MODES)
    one_of("label.options.tagclip.tiles_by", tiles_by, ("crop", "attention"))
    one_of("label.options.tagclip.activation", activation, ACTIVATIONS)
    clip = request.encoder()
    tower = _tower(clip, pos_embed_interpolation)
    find = _Scores(
        clip=clip,
        tower=tower,
        texts=clip.classifier((*request.phrases, *((phrase,) for phrase in request.background)), request.templates),
        activation=resolve_activation(clip, activation, "tagclip"),
        averaged=choose_blocks(len(tower.blocks), layers),
        needed=_needed(len(tower.blocks), votes),
        whole_patches=partial(_whole_patches, patch=tower.patch, max_side=max_side),
        reidentify=reidentify,
        regions=partial(_regions, share=region, exclusive_box_ends=exclusive_box_ends, early_return=early_return),
        exclusive_box_ends=exclusive_box_ends,
    )
    classes = slice(len(request.class_names))
    if request.grid != WHOLE and tiles_by == "attention":
        for frame in frames:
            scores = find(frame.load(), classes, boxes(request.grid))
            yield LabelResult(scores.max(0), SHARE, relative=True, tiles=scores.reshape(*request.grid, -1))
        return
    views = (crop for frame in frames for crop in crops(frame, request.grid))  # of one tile: the frame
    results = (LabelResult(find(view.load(), classes, boxes(WHOLE))[0], SHARE, relative=True) for view in views)
    yield from results if request.grid == WHOLE else merge(results, request.grid)


@dataclass(frozen=True)
class _Scores:
    """What makes an image's scores, see `label`."""

    clip: Clip
    tower: ViT
    texts: Tensor
    activation: str
    averaged: range
    needed: int
    whole_patches: Callable[[np.ndarray], np.ndarray]
    reidentify: float
    regions: Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Regions]
    exclusive_box_ends: bool

    def __call__(self, image: np.ndarray, classes: slice, tiles: Sequence[Box]) -> np.ndarray:
        """Return the score in [0, 1] of each class in each tile of an image (H, W, 3) uint8 RGB: (T, K)."""
        clip, tower = self.clip, self.tower
        pixels = clip.pixels([self.whole_patches(image)])
        recorder = VotingRecorder(self.averaged)
        # At the native size, as of every region, nothing is resampled, and the published code rounds nothing.
        fitting = clip.vit if tuple(pixels.shape[2:]) == clip.size else tower
        coarse, grid = patch_probabilities(clip, fitting, pixels, self.texts, self.activation, recorder)
        refined = refine(coarse, recorder.attention(self.needed), grid, self.exclusive_box_ends)
        inside = torch.from_numpy(np.stack([cells_in_box(box, grid) for box in tiles])).to(refined.device)  # (T, N)
        local = torch.stack([refined[own, classes].amax(0) for own in inside])
        low, high = refined.min(), refined.max()
        chosen = local - low > self.reidentify * (high - low)
        regions = self.regions(refined, chosen, inside, grid)
        again = region_probabilities(clip, clip.vit, pixels, regions, self.texts, self.activation)
        return fuse(local, again).double().clamp(0, 1).cpu().numpy()


def choose_blocks(number: int, layers: int | str) -> range:
    """Return which of `number` blocks are averaged, from 0; the last, which was never trained to attend, only if alone.

    Args:
        number: of all blocks.
        layers: how many before the last, or ``auto``: from two thirds of the depth on.
    """
    if number == 1:
        return range(1)
    wanted = number - 1 - number * 2 // 3 if isinstance(layers, str) else layers
    return range(max(0, number - 1 - max(1, wanted)), number - 1)


def _needed(number: int, votes: int | str) -> int:
    return math.ceil(number / 3) if isinstance(votes, str) else votes


@torch.no_grad()
def patch_probabilities(
    clip: Clip, tower: ViT, pixels: Tensor, texts: Tensor, activation: str, recorder: VotingRecorder
) -> tuple[Tensor, tuple[int, int]]:
    """Return the probability of each text at each patch, (N, C'), and the grid; `recorder` records all blocks.

    Args:
        clip: the model.
        tower: its image tower.
        pixels: one image of whole patches, (1, 3, H', W').
        texts: (C', d) unit features.
        activation: see `probabilities`.
        recorder: records the attention.
    """
    tokens = tower.trunk(pixels, recorder=recorder)
    last = tower.blocks[-1]
    normed = last.ln_1(tokens.values)
    # The last block votes by the attention it would have had.
    query, key, _ = queries_keys_values(last.attn, normed, normed)
    recorder.observe(len(tower.blocks) - 1, query, key)
    features = tower.dense_features(tokens.values, value_only, residual=True, mlp=True)[0]
    return probabilities(clip.logits(F.normalize(features, dim=-1), texts), activation), tokens.grid


def value_only(_query: Tensor, _key: Tensor, value: Tensor) -> Tensor:
    """Return the attention output of tokens that attend to themselves alone: (T, d)."""
    return value


@torch.no_grad()
def region_probabilities(
    clip: Clip,
    tower: ViT,
    pixels: Tensor,
    regions: Regions,
    texts: Tensor,
    activation: str,
) -> dict[tuple[int, int], Tensor]:
    """Return for each tile and class the class's probability in the crop of its region, in [0, 1].

    Args:
        clip: the model.
        tower: its image tower.
        pixels: the frame, (1, 3, h*p, w*q).
        regions: see there.
        texts: (C', d) unit features.
        activation: see `probabilities`.
    """
    high, wide = tower.patch
    found: dict[tuple[int, int], Tensor] = {}
    places = list(regions)
    for start in range(0, len(places), BATCH):
        part = places[start : start + BATCH]
        crops, visible = [], []
        for (top, left, bottom, right), mask in map(regions.__getitem__, part):
            crop = pixels[:, :, top * high : bottom * high, left * wide : right * wide]
            crops.append(F.interpolate(crop, clip.size, mode="bilinear", align_corners=False))
            visible.append(F.interpolate(mask[None, None].float(), tower.native_grid, mode="nearest").flatten(1) > 0)
        features = F.normalize(tower.masked_features(torch.cat(crops), torch.cat(visible)), dim=-1)
        probability = probabilities(clip.logits(features, texts), activation)  # (b, C')
        found |= {place: row[place[1]] for place, row in zip(part, probability, strict=True)}
    return found


def fuse(local: Tensor, again: Mapping[tuple[int, int], Tensor]) -> Tensor:
    """Return the scores (T, K): local scores (T, K), or their mean with the probabilities `again` of crops."""
    scores = local.clone()
    for place, probability in again.items():
        scores[place] = (local[place] + probability) / 2
    return scores


def _regions(
    refined: Tensor,
    chosen: Tensor,
    inside: Tensor,
    grid: tuple[int, int],
    share: float,
    exclusive_box_ends: bool,
    early_return: bool,
) -> Regions:
    """Return the regions of the chosen classes (T, K) bool in tiles of the patches `inside`, (T, N) bool."""
    found = {}
    for tile, own in enumerate(inside):
        for index in chosen[tile].nonzero()[:, 0].tolist():
            mask = ((min_max(refined[:, index : index + 1])[:, 0] > share) & own).reshape(grid)
            box = bounding_box(mask, exclusive_box_ends)
            if box is not None:
                found[tile, index] = box, mask[box[0] : box[2], box[1] : box[3]]
            elif early_return:
                break
    return found


def _whole_patches(image: np.ndarray, patch: tuple[int, int], max_side: int | None) -> np.ndarray:
    """Shrink an image to `max_side` where it is larger, and enlarge it to whole patches."""
    shrink = 1.0 if max_side is None else min(1.0, max_side / max(image.shape[:2]))
    sides = (max(1, round(side * shrink)) for side in image.shape[:2])
    height, width = (math.ceil(side / step) * step for side, step in zip(sides, patch, strict=True))
    return resize(image, (height, width))


def _tower(clip: Clip, pos_embed_interpolation: str) -> ViT:
    if reason := vit.unsupported_reason(clip.network.visual):
        raise ModelError(
            f"label.method: tagclip classifies the patches of a vision transformer; {clip.name} has none: {reason}; "
            "take a model such as ViT-B-16, or label.method clip"
        )
    return ViT(clip.network.visual, pos_embed_interpolation)


def _check_shares(**options: object) -> None:
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ParamsError(f"label.options.tagclip.{option}: expected a number from 0 to 1, found {value!r}")


def _check_count(option: str, value: object, word: str | None) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not whole and value != word:
        raise ParamsError(
            f"label.options.tagclip.{option}: expected {word or 'null'} or a whole number from 1, found {value!r}"
        )
