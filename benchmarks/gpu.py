"""Maps, labels, training and prediction of real sizes on a GPU, beside the bare library on the same GPU.

    python -m benchmarks gpu

Weights are random, which costs what trained ones cost. Every time ends when the GPU is done (`torch.cuda.synchronize`).
Two lines measure no time: how far the maps, and the network's probabilities, of the GPU are from those of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import repeat

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.cam import config
from benchmarks.timing import Result, compare
from wildseg.cam.engine import CamConfig, activation_maps_of_batch
from wildseg.core import lookup
from wildseg.encoders.clip import Clip
from wildseg.encoders.precision import autocast
from wildseg.methods.losses import cross_entropy
from wildseg.segment import predict
from wildseg.segment.objective import SegmenterObjective
from wildseg.segment.predict import Predictor
from wildseg.training.context import TrainContext
from wildseg.training.distributed import DistributedContext
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer

MODEL = "ViT-B-16-quickgelu"
SIZE = (384, 512)
FRAMES = 16  # as many as the cam stage hands to a GPU at a time
CLASSES, TEXTS = 4, 33
CROP, BATCH, STEPS = 512, 16, 20
RUNS = 5
# In [0, 1]. torch lets convolutions round their inputs to TF32 (10 bits of mantissa) on a GPU, and they are all that a
# segmenter has; the maps come of matrix products, which it computes in float32.
MAPS_TOLERANCE, PROBABILITIES_TOLERANCE = 1e-4, 5e-3
METHODS = (("gradcam", "none"), ("softmax_gradcam", "caa"), ("naclip", "none"))


def measure() -> Iterator[Result]:
    """Yield maps, then training and prediction, each against the bare library; then the differences from the CPU."""
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks: expected a GPU that torch can use, found none")
    clip = _clip()
    images = list(np.random.default_rng(0).integers(0, 256, (FRAMES, *SIZE, 3), np.uint8))
    yield from maps(clip, images)
    for precision in ("fp32", "bf16"):
        yield training(precision)
    yield prediction()
    yield from differences(clip, images[:2])


def maps(clip: Clip, images: list[np.ndarray]) -> Iterator[Result]:
    """Against open_clip's image tower on the same pixels, all frames at once, without gradient and without any map."""
    on_gpu = _moved(clip, "cuda")
    peer = partial(_forward, on_gpu.network.visual, torch.randn(FRAMES, 3, *SIZE, device="cuda"))
    for method, refine in METHODS:
        ours = partial(_maps, on_gpu, images, config(method, refine))
        name = f"{method}{' with CAA' if refine == 'caa' else ''}, {CLASSES} classes, a frame of {SIZE[1]}x{SIZE[0]}"
        yield compare(
            name, _until_done(ours), _until_done(peer), "open_clip's image tower alone", per=FRAMES, runs=RUNS
        )


def training(precision: str) -> Result:
    """Against the same network, optimiser and precision without what the trainer does beside: curves, seeds, checks."""
    network = _segmenter().to("cuda").to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images = torch.randn(BATCH, 3, CROP, CROP)
    masks = torch.randint(1, CLASSES + 1, (BATCH, CROP, CROP))
    context = TrainContext(precision=precision, distributed=DistributedContext(device="cuda"))
    optim = OptimConfig(STEPS, 1e-4, weight_decay=1e-4)

    def bare() -> None:
        for _ in range(STEPS):
            pixels = images.to("cuda").contiguous(memory_format=torch.channels_last)
            with autocast("cuda", precision):
                logits = network(pixels)
            optimiser.zero_grad()
            F.cross_entropy(logits.float(), masks.to("cuda")).backward()
            optimiser.step()

    def ours() -> None:
        objective = SegmenterObjective(own, cross_entropy.loss, range(1, CLASSES + 1), None, context)
        batch = {"image": images, "mask": masks}
        for _ in Trainer(objective, optim, context).run(lambda start, stop: repeat(batch, stop - start)):
            pass

    own = _segmenter()
    name = f"training a U-Net with resnet18 in {precision}, an image of {CROP}x{CROP}"
    each = STEPS * BATCH
    peer = "forward, backward and AdamW of the same network"
    return compare(name, _until_done(ours), _until_done(bare), peer, per=each, runs=RUNS)


def prediction() -> Result:
    """Against the bare network on normalised pixels that already lie on the GPU."""
    predictor = Predictor(_segmenter().eval(), range(1, CLASSES + 1), device="cuda")
    images = list(np.random.default_rng(1).integers(0, 256, (FRAMES, *SIZE, 3), np.uint8))
    pixels = torch.randn(predict.BATCH, 3, *SIZE, device="cuda").contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        for _ in range(FRAMES // predict.BATCH):
            _forward(predictor.network, pixels)

    ours = partial(_exhaust, predictor, images)
    name = f"predicting a frame of {SIZE[1]}x{SIZE[0]}"
    return compare(name, _until_done(ours), _until_done(bare), "one forward pass of the network", per=FRAMES, runs=RUNS)


def differences(clip: Clip, images: list[np.ndarray]) -> Iterator[Result]:
    """Yield the largest differences between GPU and CPU, of maps and of the network's probabilities, both in [0, 1]."""
    for method, refine in METHODS:
        there, here = (_maps(_moved(clip, device), images, config(method, refine)) for device in ("cuda", "cpu"))
        largest = max(float(np.abs(a - b).max()) for a, b in zip(there, here, strict=True))
        yield _difference(f"maps of {method}{' with CAA' if refine == 'caa' else ''}", largest, MAPS_TOLERANCE)
    network, ids = _segmenter().eval(), range(1, CLASSES + 1)
    here = Predictor(network, ids).probabilities(np.stack(images))
    there = Predictor(network, ids, device="cuda").probabilities(np.stack(images)).cpu()
    yield _difference("probabilities of a U-Net", float((there - here).abs().max()), PROBABILITIES_TOLERANCE)


# Parts ---------------------------------------------------------------------------------------------------------------


def _difference(what: str, largest: float, tolerance: float) -> Result:
    ratio = largest / tolerance
    return Result(f"{what}: GPU from CPU, largest", "", largest, tolerance, "the tolerance", ratio, ratio, ratio, 1)


def _clip() -> Clip:
    torch.manual_seed(0)
    network = open_clip.create_model(MODEL, pretrained_text=False, force_image_size=SIZE)
    return Clip(MODEL, network.float(), None, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


def _moved(clip: Clip, device: str) -> Clip:
    return replace(clip, network=clip.network.to(device))


def _segmenter() -> nn.Module:
    torch.manual_seed(0)
    return lookup.load("methods.architectures", "unet").build(CLASSES, "resnet18", None)


def _maps(clip: Clip, images: list[np.ndarray], recipe: CamConfig) -> list[np.ndarray]:
    generator = torch.Generator().manual_seed(1)
    texts = F.normalize(torch.randn(TEXTS, 512, generator=generator), dim=-1).to(clip.device)
    present = [list(range(CLASSES)) for _ in images]
    return activation_maps_of_batch(clip, images, texts, present, CLASSES, recipe)


@torch.no_grad()
def _forward(network: nn.Module, pixels: torch.Tensor) -> None:
    network(pixels)


def _exhaust(predictor: Predictor, images: list[np.ndarray]) -> None:
    for _ in predictor.predict(images):
        pass


def _until_done(action: Callable[[], object]) -> Callable[[], None]:
    def done() -> None:
        action()
        torch.cuda.synchronize()

    return done
