"""A training step of each map network, with ResNet-50 and its published crop: all of it against forward and backward.

    python -m benchmarks trained_cam

Weights are random, which costs what trained ones cost; CLIP is a ViT-B/32. The peer is the part of the same steps that
runs inside of the loss and of its backward pass, so the excess is decoding, augmentation, batching, the optimiser and
bookkeeping. On the CPU a step has BATCH images instead of the published 16, for which the fixed part of a step counts
four times as much; l2g has its published 3. Images per second are 1,000 / ours.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from benchmarks.timing import Result
from wildseg.cam.networks.data import LabelledImages, MapBatches
from wildseg.cam.networks.objective import MapObjective, NetworkContext
from wildseg.core import lookup
from wildseg.encoders.clip import Clip
from wildseg.training.context import TrainContext
from wildseg.training.loader import stream
from wildseg.training.objective import Batch
from wildseg.training.state import Tensors
from wildseg.training.trainer import Trainer

MODEL = "ViT-B-32-quickgelu"
CLASSES = ("sky", "tree", "road", "lawn")
FRAMES, SIZE = 8, (480, 640)
BATCH, STEPS, RUNS = 4, 2, 3
METHODS: Mapping[str, Mapping[str, Any]] = {
    "classifier": {"batch_size": BATCH, "epochs": STEPS * BATCH / FRAMES},
    "clims": {"batch_size": BATCH, "epochs": STEPS * BATCH / FRAMES, "baseline_epochs": 0},
    "l2g": {"epochs": STEPS * 3 / FRAMES},
    "ccam": {"batch_size": BATCH, "epochs": 0, "causal_epochs": STEPS * BATCH / FRAMES},
}


def measure() -> Iterator[Result]:
    """Yield the time of an image in each method's training."""
    for method, options in METHODS.items():
        labels = np.random.default_rng(0).random((FRAMES, len(CLASSES))) < 0.5
        objective = _objective(method, options, labels)
        images = _images(labels)
        steps(objective, images)  # decodes all frames, encodes all texts
        runs = [steps(objective, images) for _ in range(RUNS)]
        ratios = [whole / inside for whole, inside in runs]
        per = objective.optim.steps * objective.crops.batch_size
        whole, inside = (median(seconds) * 1000 / per for seconds in zip(*runs, strict=True))
        share = 1 - 1 / median(ratios)
        yield Result(
            f"{method}, an image of {objective.crops.crop}x{objective.crops.crop} ({share:.1%} outside)", "ms", whole,
            inside, "forward and backward of the same steps", median(ratios), min(ratios), max(ratios), RUNS,
        )  # fmt: skip


class _Clocked(Trainer):
    """Counts the seconds that are spent inside of the loss and its backward pass."""

    inside = 0.0

    def _backward(self, batch: Batch) -> Tensors:
        start = time.perf_counter()
        terms = super()._backward(batch)
        self.inside += time.perf_counter() - start
        return terms


def steps(objective: MapObjective, images: LabelledImages) -> tuple[float, float]:
    """Train an objective from its first step to its last; return the seconds of all, and of forward and backward."""
    trainer = _Clocked(objective, objective.optim, TrainContext())
    batches = MapBatches(images, objective.crops, objective.norm, seed=0)
    start = time.perf_counter()
    for _ in trainer.run(partial(stream, batches, workers=0)):
        pass
    return time.perf_counter() - start, trainer.inside


def _objective(method: str, options: Mapping[str, Any], labels: np.ndarray) -> MapObjective:
    torch.manual_seed(0)
    phrases = tuple((name,) for name in CLASSES)
    load = partial(lookup.load, "methods.cam")
    context = NetworkContext(CLASSES, phrases, labels, TrainContext(), _clip, load, Path())
    built: MapObjective = lookup.load("methods.cam", method, "cam.method").build(context, **options)
    return built


def _images(labels: np.ndarray) -> LabelledImages:
    """Return frames like photographs, smooth with some noise, as JPEG files in memory."""
    generator = np.random.default_rng(1)
    files = {}
    for number in range(FRAMES):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC)).astype(int)
        noisy = np.clip(smooth + generator.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)
        content = io.BytesIO()
        Image.fromarray(noisy).save(content, "JPEG", quality=95)
        files[str(number)] = content.getvalue()
    return LabelledImages(list(files), labels, lambda name: np.array(Image.open(io.BytesIO(files[name]))))


def _clip() -> Clip:
    logging.disable(logging.WARNING)  # that its weights are random
    network = open_clip.create_model(MODEL, pretrained_text=False)
    tokenizer = open_clip.get_tokenizer(MODEL)
    return Clip(MODEL, network.float(), tokenizer, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
