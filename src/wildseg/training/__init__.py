"""One training core for every network: objective, optimiser, schedule, checkpoints, distributed training."""
