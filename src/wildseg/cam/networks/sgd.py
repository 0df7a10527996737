"""The optimiser of CLIMS and C-CAM as published: SGD with a polynomial schedule and no warm-up."""

from __future__ import annotations

from wildseg.training.optim import OptimConfig


def sgd(steps: int, lr: float, momentum: float, weight_decay: float, lr_option: str = "lr") -> OptimConfig:
    """Return how a phase minimises; `lr_option` is the option of the method that sets `lr`, for error lines."""
    return OptimConfig(steps, lr, "sgd", "poly", momentum, weight_decay=weight_decay, warmup=0.0, lr_option=lr_option)
