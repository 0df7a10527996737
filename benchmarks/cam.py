"""Activation maps of a real-size CLIP in units of its own forward pass: ViT-B/16 on frames of 384x512, on all cores.

    python -m benchmarks cam

Weights are random, which costs what trained ones cost. The peer is open_clip's image tower on the same pixels, without
gradient and without any map. Memory is the peak of a process of its own that makes the maps of one 1920x1080 frame.
"""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import numpy as np
import open_clip
import torch
import torch.nn.functional as F

from benchmarks.timing import Result, compare
from wildseg.cam.engine import CamConfig, activation_maps, maps_of
from wildseg.cam.params import Cam
from wildseg.cam.record import record_clip
from wildseg.encoders.clip import Clip
from wildseg.execution import defaults
from wildseg.stages.cam.config import cam_config

MODEL = "ViT-B-16-quickgelu"
SIZE = (384, 512)
LARGE = (1080, 1920)
CLASSES, TEXTS = 8, 33  # eight classes and CLIP-ES's 25 background phrases
RUNS = 7
LIMIT_GIB = 4.0
SINGLE = ("eigencam", "attention_rollout", "maskclip", "sclip", "clearclip", "naclip")  # no gradient, one pass
MEASURED_LARGE = (("softmax_gradcam", 1), ("softmax_gradcam", CLASSES), ("attention_rollout", 1), ("naclip", CLASSES))


def measure() -> Iterator[Result]:
    """Yield softmax-Grad-CAM with CAA for one to eight classes, the methods of a single pass, and memory."""
    clip, texts = _clip(SIZE), _texts()
    pixels = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    peer, peer_name = partial(_forward, clip, pixels), "open_clip's image tower, no gradient"
    es = config("softmax_gradcam", "caa")
    for count in (1, 2, 4, 8):
        name = f"softmax_gradcam with CAA, {count} class{'es' if count > 1 else ''}"
        yield compare(name, partial(_maps, clip, pixels, texts, count, es), peer, peer_name, runs=RUNS)
    for method in ("gradcam", "hirescam", *SINGLE):
        plain = config(method)
        yield compare(f"{method}, 1 class", partial(_maps, clip, pixels, texts, 1, plain), peer, peer_name, runs=RUNS)
    for method, count in MEASURED_LARGE:
        yield _memory(method, count)


def config(method: str, refine: str = "none") -> CamConfig:
    """Return the shipped parameters at one scale and full size, with a method and a refinement."""
    return cam_config(defaults.section(Cam, "cam", method=method, refine=refine, scales=(1.0,), max_side=None))


def _clip(size: tuple[int, int]) -> Clip:
    logging.disable(logging.WARNING)  # that its weights are random
    torch.manual_seed(0)
    network = open_clip.create_model(MODEL, pretrained_text=False, force_image_size=size)
    return Clip(MODEL, network.float(), None, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


def _texts() -> torch.Tensor:
    return F.normalize(torch.randn(TEXTS, 512, generator=torch.Generator().manual_seed(1)), dim=-1)


@torch.no_grad()
def _forward(clip: Clip, pixels: torch.Tensor) -> None:
    clip.network.visual(pixels)


def _maps(clip: Clip, pixels: torch.Tensor, texts: torch.Tensor, count: int, recipe: CamConfig) -> None:
    maps_of(record_clip(clip, pixels, texts, range(count), CLASSES, recipe.record_config), recipe)


def _memory(method: str, count: int) -> Result:
    """Return the peak of a process that makes maps of one large frame, against what a frame may take."""
    command = [sys.executable, "-m", "benchmarks.cam", method, str(count)]
    peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    name = f"memory of {method} with CAA, 1920x1080, {count} class{'es' if count > 1 else ''}"
    ratio = peak / LIMIT_GIB
    return Result(
        name, "GiB", peak, LIMIT_GIB, "the aim: the whole process, its libraries and weights", ratio, ratio, ratio, 1
    )


def main() -> None:
    """Make the maps of one large frame and print the peak of this process in GiB."""
    method, count = sys.argv[1], int(sys.argv[2])
    image = np.random.default_rng(0).integers(0, 256, (*LARGE, 3), np.uint8)
    activation_maps(_clip((224, 224)), image, _texts(), range(count), CLASSES, config(method, "caa"))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


if __name__ == "__main__":
    main()
