"""Teach the tiny CLIP: render worlds, draw captioned regions, minimise the sigmoid loss, keep a running average.

    python -m wildseg_demo.tiny_clip.train --model-dir models/tiny_clip

Every `--save-every` steps the averaged weights are written and the whole state is checkpointed; a run that was
killed goes on from there.
"""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from wildseg.core.progress import track
from wildseg_demo.tiny_clip.batch import Batch, make_batch
from wildseg_demo.tiny_clip.checkpoint import restore, save
from wildseg_demo.tiny_clip.dataset import Frames, load_or_render
from wildseg_demo.tiny_clip.evaluate import evaluate_labels
from wildseg_demo.tiny_clip.loss import pair_targets, region_text_loss
from wildseg_demo.tiny_clip.model import NAME, load_model, new_model, save_weights
from wildseg_demo.tiny_clip.region_encoder import encode_regions
from wildseg_demo.world import seeds

# Two threads with half a batch each wait for one another once per step, where the threads inside an operator wait
# at its every end: twice as fast on a busy machine. Two, because a sum of two does not depend on their order.
_HALVES = 2


@dataclass(frozen=True)
class Recipe:
    """All numbers of the training.

    Attributes:
        steps: optimiser steps.
        worlds: that are rendered to learn from.
        frames_per_world: at random places in each.
        crops: per step.
        boxes: per crop, the crop itself included.
        full_views: chance of a step on whole frames, at the start and at the end.
        learning_rate: at its peak.
        warmup: steps until the peak; a cosine to zero follows.
        weight_decay: of matrices; vectors have none.
        averaging: decay of the running average of weights, which is what is saved.
        bfloat16: whether to compute in bfloat16; faster only where the processor has instructions for it.
        seed: of weights and batches.
    """

    steps: int = 4000
    worlds: int = 1200
    frames_per_world: int = 5
    crops: int = 24
    boxes: int = 30
    full_views: tuple[float, float] = (0.08, 0.5)
    learning_rate: float = 1.1e-3
    warmup: int = 80
    weight_decay: float = 0.05
    averaging: float = 0.995
    bfloat16: bool = False
    seed: int = 0


class Trainer:
    """The state of a training run: model, optimiser, running average, step."""

    def __init__(self, model: open_clip.CLIP, tokenizer: SimpleTokenizer, recipe: Recipe) -> None:
        """Start at step 0."""
        self.model, self.tokenizer, self.recipe = model, tokenizer, recipe
        self.optimizer = _optimizer(model, recipe)
        self.average = {name: value.clone() for name, value in model.state_dict().items()}
        self.step = 0
        self.threads = ThreadPoolExecutor(_HALVES)

    def take_step(self, frames: Frames) -> float:
        """One update on the batch of this step; returns its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        self.optimizer.zero_grad()
        losses = list(self.threads.map(self._add_gradients, [frames] * _HALVES, range(_HALVES)))
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._keep_average()
        return sum(losses)

    def _add_gradients(self, frames: Frames, half: int) -> float:
        """Backward pass of half a batch, which depends on nothing but seed, step and half."""
        recipe = self.recipe
        chance = np.interp(self.step / recipe.steps, (0, 1), recipe.full_views)
        full_view = np.random.default_rng([recipe.seed, self.step]).random() < chance
        rng = np.random.default_rng([recipe.seed, self.step, 1 + half])
        batch = make_batch(frames, recipe.crops // _HALVES, recipe.boxes, bool(full_view), rng)
        loss = batch_loss(self.model, self.tokenizer, batch, recipe.bfloat16) / _HALVES
        loss.backward()
        return float(loss.detach())

    @torch.no_grad()
    def _keep_average(self) -> None:
        self.model.logit_scale.clamp_(0, math.log(100))
        # Early on the average follows quickly, so that it forgets the random start.
        decay = min(self.recipe.averaging, self.step / (self.step + 10))
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                self.average[name].lerp_(value, 1 - decay)


def batch_loss(model: open_clip.CLIP, tokenizer: SimpleTokenizer, batch: Batch, bfloat16: bool) -> Tensor:
    """Loss on surfaces one by one, plus half the loss on captions of several."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        regions = encode_regions(model.visual, batch.images, batch.corners, batch.inside)
        regions = regions.flatten(0, 1).float()  # (B*R, D)
        texts = model.encode_text(tokenizer(batch.texts)).float()  # (T, D)
    scale, bias = model.logit_scale.exp(), model.logit_bias
    classes = batch.visible.shape[1]

    def loss(part: slice) -> Tensor:
        targets = pair_targets(batch.visible, batch.absent, batch.named[part])
        return region_text_loss(regions, texts[part], scale, bias, targets)

    return loss(slice(0, classes)) + 0.5 * loss(slice(classes, None))


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine to zero."""
    warmup = min(1.0, (step + 1) / recipe.warmup)
    return recipe.learning_rate * warmup * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps)) + 1e-6


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))


def train(recipe: Recipe, model_dir: Path, work_dir: Path, save_every: int, workers: int) -> None:
    """Train from the last checkpoint or from scratch; leave `model.safetensors` in model_dir."""
    torch.manual_seed(recipe.seed)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    worlds = seeds.TRAINING[: recipe.worlds]
    frames = load_or_render(work_dir, worlds, recipe.frames_per_world, workers)
    trainer = Trainer(*new_model(model_dir / f"{NAME}.json"), recipe)
    checkpoint = work_dir / "checkpoint.safetensors"
    trainer.step = restore(checkpoint, trainer.model, trainer.optimizer, trainer.average)

    losses = []
    for _ in track(range(trainer.step, recipe.steps), recipe.steps - trainer.step, "teaching the tiny CLIP"):
        losses.append(trainer.take_step(frames))
        if trainer.step % save_every == 0 or trainer.step == recipe.steps:
            click.echo(f"step {trainer.step}: loss {np.mean(losses[-save_every:]):.4f}", err=True)
            save(checkpoint, trainer.model, trainer.optimizer, trainer.average, trainer.step)
            save_weights(trainer.average, model_dir / "model.safetensors")


@click.command()
@click.option("--model-dir", type=click.Path(path_type=Path), required=True, help="Holds the config, gets the weights.")
@click.option("--work-dir", type=click.Path(path_type=Path), default=Path(".wildseg/tiny_clip"), show_default=True)
@click.option("--steps", default=Recipe.steps, show_default=True)
@click.option("--seed", default=Recipe.seed, show_default=True)
@click.option("--bfloat16", is_flag=True, help="Compute in bfloat16, for processors that have it.")
@click.option("--save-every", default=100, show_default=True, help="Steps between checkpoints.")
@click.option("--workers", default=2, show_default=True, help="Processes that render worlds.")
def main(model_dir: Path, work_dir: Path, steps: int, seed: int, bfloat16: bool, save_every: int, workers: int) -> None:
    """Teach the tiny CLIP and measure its labels on held-out worlds."""
    recipe = Recipe(steps=steps, seed=seed, bfloat16=bfloat16)
    train(recipe, model_dir, work_dir, save_every, workers)
    held_out = load_or_render(work_dir, seeds.HELD_OUT[:60], 4, workers)
    model, tokenizer = load_model(model_dir / f"{NAME}.json", model_dir / "model.safetensors")
    metrics = {"labels": evaluate_labels(model, tokenizer, held_out), "recipe": asdict(recipe)}
    (model_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
