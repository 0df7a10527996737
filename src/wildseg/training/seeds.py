"""Seeds derived from (seed, purpose, number), so that every random draw of a training is known by its step."""

from __future__ import annotations

import numpy as np
import torch


def derive(seed: int, purpose: str, number: int) -> int:
    """Return a 63-bit seed that depends on all three and on nothing else."""
    entropy = (seed, number, *purpose.encode())
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def set_seed(seed: int, device: str) -> None:
    """Seed torch's generators of the CPU and, on a GPU, of all GPUs."""
    # Not torch.manual_seed: without a GPU it queues one more call, with its traceback, at every step.
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        torch.cuda.manual_seed_all(seed)
