"""A network of a few hundred weights with everything that makes training hard to repeat: normalisation and dropout."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from wildseg.methods.losses import cross_entropy
from wildseg.segment.objective import AS_THE_REST, FineTuning, SegmenterObjective
from wildseg.segment.teacher import Consistency
from wildseg.training.context import TrainContext
from wildseg.training.distributed import SINGLE_PROCESS, DistributedContext
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer

COLOURS = np.array([[0, 0, 0], [220, 30, 30], [30, 200, 40], [40, 40, 210]], np.uint8)


def tiny(num_ids: int = 4, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Conv2d(8, num_ids, 1),
    )


def stripes(seed: int, height: int = 12, width: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of coloured stripes and its mask of ids 1 to 3."""
    mask = 1 + (np.arange(width) // 4 + seed) % 3
    mask = np.broadcast_to(mask, (height, width)).astype(np.uint8)
    noise = np.random.default_rng(seed).integers(0, 20, (height, width, 3))
    return (COLOURS[mask] + noise).astype(np.uint8), mask


def batches(start: int, stop: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the batches of the steps `start` to `stop`: two images of stripes each."""
    for step in range(start, stop):
        images, masks = zip(*(stripes(2 * step + k) for k in range(2)), strict=True)
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 128 - 1
        yield {"image": pixels, "mask": torch.from_numpy(np.stack(masks)).long()}


def segmenter_trainer(
    network: torch.nn.Module,
    miou: Callable[[], float] | None = None,
    weights: torch.Tensor | None = None,
    distributed: DistributedContext = SINGLE_PROCESS,
    teach: Callable[[torch.nn.Module], Consistency] | None = None,
    fine_tuning: FineTuning = AS_THE_REST,
    **changes: Any,  # noqa: ANN401
) -> Trainer:
    """Return a trainer of a network with the ids 1 to 3; `changes` are steps, lr, weight_decay, seed, ..."""
    every = changes.pop("validate_every", 5) if miou else None
    context = TrainContext(changes.pop("seed", 0), changes.pop("precision", "fp32"), every, distributed)
    optim = OptimConfig(**{"steps": 12, "lr": 0.01, "weight_decay": 0.01, **changes})
    objective = SegmenterObjective(network, cross_entropy.loss, (1, 2, 3), weights, context, miou, teach, fine_tuning)
    return Trainer(objective, optim, context)
