"""All numbers of the tiny CLIP's training."""

import math
from dataclasses import dataclass

# Two threads with half a batch each wait for one another once per step, where the threads inside an operator wait
# at its every end: twice as fast on a busy machine. Two, because a sum of two does not depend on their order.
HALVES = 2


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


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine to zero."""
    warmup = min(1.0, (step + 1) / recipe.warmup)
    return recipe.learning_rate * warmup * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps)) + 1e-6
