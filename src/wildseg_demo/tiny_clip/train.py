"""Teach the tiny CLIP: render worlds, draw captioned regions, minimise the sigmoid loss, keep a running average.

    python -m wildseg_demo.tiny_clip.train --model-dir models/tiny_clip

Every `--save-every` steps the averaged weights are written and the whole state is checkpointed; a run that was
killed goes on from there.
"""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
import cv2
import numpy as np
import torch

from wildseg.core.progress import track
from wildseg.execution.result_store import key_of
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.context import TrainContext
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer
from wildseg_demo.tiny_clip.dataset import load_or_render
from wildseg_demo.tiny_clip.evaluate import evaluate_labels
from wildseg_demo.tiny_clip.model import NAME, load_model, new_model, save_weights
from wildseg_demo.tiny_clip.objective import AVERAGE, TinyClipObjective, half_batches
from wildseg_demo.tiny_clip.recipe import HALVES, Recipe, learning_rate
from wildseg_demo.world import seeds


def new_trainer(recipe: Recipe, config: Path) -> Trainer:
    """Return a trainer of a model of a config file with fresh weights, at step 0."""
    precision = "bf16" if recipe.bfloat16 else "fp32"
    context = TrainContext(recipe.seed, precision, threads=HALVES, section="tiny_clip")
    optim = OptimConfig(
        recipe.steps,
        recipe.learning_rate,
        schedule=partial(learning_rate, recipe),
        betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
        clip=1.0,
    )
    return Trainer(TinyClipObjective(*new_model(config), recipe.averaging, context), optim, context)


def train(recipe: Recipe, model_dir: Path, work_dir: Path, save_every: int, workers: int) -> None:
    """Train from the last checkpoint or from scratch; leave `model.safetensors` in model_dir."""
    torch.manual_seed(recipe.seed)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    worlds = seeds.TRAINING[: recipe.worlds]
    frames = load_or_render(work_dir, worlds, recipe.frames_per_world, workers)
    trainer = new_trainer(recipe, model_dir / f"{NAME}.json")
    checkpoints = Checkpoints(work_dir / "checkpoints", key_of([recipe])[:16])
    checkpoints.restore(trainer)
    if checkpoints.unusable:
        click.echo(f"{checkpoints.unusable}; begins anew", err=True)

    losses: list[float] = []
    events = trainer.run(partial(half_batches, frames, recipe))
    for event in track(events, recipe.steps - trainer.step, "teaching the tiny CLIP"):
        losses += [] if event.loss is None else [event.loss]
        if event.step % save_every == 0 or event.step == recipe.steps:
            click.echo(f"step {event.step}: loss {np.mean(losses) if losses else np.nan:.4f}", err=True)
            losses.clear()
            checkpoints.save(trainer)
            save_weights(trainer.weights(AVERAGE), model_dir / "model.safetensors")


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
