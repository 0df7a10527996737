"""Every segmentation network on the default drive: mIoU of the pseudo masks in, of the model out, size and speed.

    python -m benchmarks.architectures                  # all, with the default's encoder where it fits
    python -m benchmarks.architectures unet fpn         # some
    python -m benchmarks.architectures fpn --steps 100  # a shorter training

Needs a finished `dvc repro`. Writes nothing into the project: models and metrics go to a temporary folder, and every
training goes to its end. All have the parameters of the section train, and the options of their signatures where it
has none. Frames per second are those of the model alone on one frame of the drive after the other, on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import wildseg
from benchmarks.project import ROOT, link
from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.errors import ModelError
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.stages.eval import stage as measure
from wildseg.stages.train import stage as train

INPUTS = ("data/frames", "data/labels", "data/cams", "data/masks", "data/raw", "data/truth", "models/tiny_clip")
FORWARD = 20  # passes that are timed
OTHERS: Mapping[str, Mapping[str, Any]] = {  # what a network needs beside the default's settings
    # Its published decoder takes 8 s a step on two cores.
    "dpt": {
        "encoder": "tu-vit_tiny_patch16_224",
        "options": {"dpt": {"decoder_channels": [32, 64, 128, 128], "fusion_channels": 64}},
    },
    "pcaa": {"encoder": "tu-resnet18"},
    # With the published scale the embedded CLIP sees crops of 64 pixels.
    "san": {
        "encoder": "wildseg-tiny",
        "encoder_weights": "models/tiny_clip/model.safetensors",
        "lr": 0.001,
        "options": {"san": {"queries": 30, "points": 3136, "clip_scale": 1.0}},
    },
}


def main() -> None:
    """Print one line of a Markdown table per architecture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ARCHITECTURE", help="default: all")
    parser.add_argument("--steps", type=int, help="of each training; default: train.steps")
    given = parser.parse_args()
    os.environ["WILDSEG_TRACKING"] = "off"
    os.environ["WILDSEG_CACHE"] = "off"
    for name in given.names:
        lookup.check("methods.architectures", name, "architectures")
    default = params.load(ROOT / "params.yaml")
    steps = given.steps or default.train.steps
    print(
        "| train.architecture | encoder | parameters | pseudo masks | model | model, held out | train, s | frames/s |"
    )
    print("| --- | --- | ---: | --- | --- | --- | ---: | ---: |", flush=True)
    for name in given.names or lookup.available("methods.architectures"):
        chosen = replace(default.train, architecture=name, steps=steps, **OTHERS.get(name, {}))
        try:
            print(row(replace(default, train=chosen)), flush=True)
        except ModelError as error:
            print(f"| {name} | {chosen.encoder} | | | | | | | {error}", flush=True)


def row(values: Params) -> str:
    """Train and measure one network in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Artifacts(Path(folder))
        link(artifacts.root, INPUTS)
        runtime = Runtime.from_environment()
        start = time.perf_counter()
        train.run(values, artifacts, runtime)
        took = time.perf_counter() - start
        measure.run(values, artifacts, runtime)
        found = json.loads(artifacts.metrics_path("eval.json").read_text(encoding="utf-8"))
        trained = json.loads(artifacts.metrics_path("train.json").read_text(encoding="utf-8"))
        pace = _pace(artifacts)
    held_out = found.get("unseen", {}).get("segmenter", {}).get("miou")
    numbers = [found["pseudo"]["miou"], found["segmenter"]["miou"], held_out]
    shown = " | ".join("" if number is None else f"{number:.3f}" for number in numbers)
    name, encoder = values.train.architecture, values.train.encoder
    return f"| `{name}` | {encoder} | {trained['parameters']:,} | {shown} | {took:.0f} | {pace:.1f} |"


def _pace(artifacts: Artifacts) -> float:
    """Return frames a second of the trained network."""
    predictor = wildseg.load_segmenter(artifacts.segmenter_folder, device="cpu").predictor
    frames = [artifacts.load_image(frame.name)[None] for frame in artifacts.load_frames("test")[:FORWARD]]
    for image in frames[:2]:
        predictor.probabilities(image)
    start = time.perf_counter()
    for image in frames:
        predictor.probabilities(image)
    return len(frames) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
