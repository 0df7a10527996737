"""What the tiny CLIP minimises: the sigmoid loss between regions and texts; a running average follows its weights."""

import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from wildseg.training.context import TrainContext
from wildseg.training.objective import Batch, Objective, ParamGroup, decay_groups
from wildseg_demo.tiny_clip.batch import make_batch
from wildseg_demo.tiny_clip.dataset import Frames
from wildseg_demo.tiny_clip.loss import pair_targets, region_text_loss
from wildseg_demo.tiny_clip.recipe import HALVES, Recipe
from wildseg_demo.tiny_clip.region_encoder import encode_regions

AVERAGE = "average"  # the network that is saved
LARGEST_SCALE = 100.0  # of logits


class TinyClipObjective(Objective):
    """Trains a CLIP on halves of batches, as `half_batches` gives them; its running average is a second network."""

    def __init__(
        self, model: open_clip.CLIP, tokenizer: SimpleTokenizer, averaging: float, context: TrainContext
    ) -> None:
        """Begin the average with the model's own weights; `averaging` is its decay."""
        self.model, self.tokenizer = model, tokenizer
        self.networks = {"clip": model, AVERAGE: copy.deepcopy(model).requires_grad_(requires_grad=False)}
        self._averaging, self._context = averaging, context

    def param_groups(self) -> list[ParamGroup]:
        """Return the model's parameters; the average is not optimised."""
        return decay_groups([self.model])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return this half's part of the loss on surfaces one by one, and of half the loss on captions of several."""
        with self._context.autocast():
            regions = encode_regions(self.model.visual, batch["image"], batch["corners"], batch["inside"])
            regions = regions.flatten(0, 1).float()  # (B*R, D)
            texts = self.model.encode_text(self.tokenizer(batch["texts"])).float()  # (T, D)
        scale, bias = self.model.logit_scale.exp(), self.model.logit_bias
        classes = batch["visible"].shape[1]

        def of(part: slice) -> Tensor:
            targets = pair_targets(batch["visible"], batch["absent"], batch["named"][part])
            return region_text_loss(regions, texts[part], scale, bias, targets)

        return {"surfaces": of(slice(0, classes)) / HALVES, "captions": 0.5 * of(slice(classes, None)) / HALVES}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Limit the scale of the logits, and let the average follow."""
        self.model.logit_scale.clamp_(0, math.log(LARGEST_SCALE))
        # Early on the average follows quickly, so that it forgets the random start.
        decay = min(self._averaging, step / (step + 10))
        average = self.networks[AVERAGE].state_dict()
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                average[name].lerp_(value, 1 - decay)


def half_batches(frames: Frames, recipe: Recipe, start: int, stop: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the halves of the batch of each step, which depend on nothing but seed, step and half."""
    with ThreadPoolExecutor(HALVES) as threads:
        for step in range(start, stop):
            yield list(threads.map(lambda half, step=step: _half(frames, recipe, step, half), range(HALVES)))


def _half(frames: Frames, recipe: Recipe, step: int, half: int) -> dict[str, Any]:
    chance = np.interp(step / recipe.steps, (0, 1), recipe.full_views)
    full_view = np.random.default_rng([recipe.seed, step]).random() < chance
    rng = np.random.default_rng([recipe.seed, step, 1 + half])
    batch = make_batch(frames, recipe.crops // HALVES, recipe.boxes, bool(full_view), rng)
    return {"image": batch.images, **{name: value for name, value in batch._asdict().items() if name != "images"}}
