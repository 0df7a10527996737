"""A run of the first five stages, made by hand on frames of 4x4 pixels, whose numbers can be worked out on paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.shared import shipped_params
from wildseg.artifacts.project import Artifacts, Frame, PromptSet
from wildseg.core.classes import Classes
from wildseg.core.files import load_json
from wildseg.core.images import save_label_image
from wildseg.core.tables import save_table
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.methods.architectures import unet
from wildseg.segment.predict import describe
from wildseg.stages.eval import stage as evaluate

ROOT = Path(__file__).parents[2]
LAWN, ROAD, SKY, IGNORE = 1, 2, 3, 255
CLASSES = Classes.from_mapping({"lawn": ["lawn", "grass"], "road": "road", "sky": "sky"})
ENCODER = "tu-test_resnet"  # built in a third of the time of a resnet18
OPTIONS = {"encoder_depth": 3, "decoder_channels": [8, 8, 8]}
FRAMES = [
    Frame("drive_000000", "drive", 0, 0.0, "train"),
    Frame("drive_000010", "drive", 10, 1.0, "test"),
    Frame("other_000000", "other", 0, 0.0, "test"),
    Frame("other_000010", "other", 10, 1.0, "test"),
]


def params(background: tuple[str, ...] = (), **changes: Any) -> Params:  # noqa: ANN401
    """Return the default parameters with three classes, two pictures, and what `changes` says of the section eval."""
    values = shipped_params()
    pinned = {"pictures": 2, "min_presence": 0.1, "scales": (1.0,), "flip": False}
    settings = replace(values.eval, **{**pinned, **changes})
    return replace(values, classes=CLASSES, background=background, eval=settings)


def rows(*ids: int) -> np.ndarray:
    """Return a label image of 4x4 pixels from the id of each row."""
    return np.repeat(np.array(ids, np.uint8)[:, None], 4, axis=1)


def make(root: Path, background: bool = False) -> Artifacts:
    """Write everything that eval reads; the last frame has no truth."""
    artifacts = Artifacts(root)
    artifacts.save_frames(FRAMES)
    rng = np.random.default_rng(0)
    for frame in FRAMES:
        artifacts.save_image(frame.name, rng.integers(0, 256, (4, 4, 3), np.uint8))

    names = [frame.name for frame in FRAMES]
    present = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1]], bool)
    scores = np.array([[0.3, 0.6, 0.9], [0.8, 0.1, 0.2], [0.1, 0.2, 0.3], [0.1, 0.2, 0.7]])
    artifacts.save_labels(names, CLASSES.names, present)
    artifacts.save_scores(names, CLASSES.names, scores)
    artifacts.save_priors(names, CLASSES.names, scores)
    artifacts.save_prompts(PromptSet(("a photo of {}.",), ()))

    lower = np.array([[0.0, 0.0], [1.0, 1.0]])  # enlarged to 4 rows: 0, .25, .75, 1
    artifacts.save_maps(names[0], np.array([1, 2]), np.stack([lower, 1 - lower]))
    artifacts.save_maps(names[1], np.array([0]), np.ones((1, 2, 2)))
    artifacts.save_maps(names[2], np.array([], int), np.zeros((0, 2, 2)))
    artifacts.save_maps(names[3], np.array([2]), np.ones((1, 2, 2)))

    artifacts.save_mask(names[0], rows(SKY, SKY, LAWN, IGNORE))
    artifacts.save_mask(names[1], rows(LAWN, LAWN, LAWN, LAWN))
    artifacts.save_mask(names[2], rows(IGNORE, IGNORE, IGNORE, IGNORE))
    artifacts.save_mask(names[3], rows(SKY, SKY, SKY, SKY))
    for name, confidence in zip(names, (0.8, 0.6, 0.0, 1.0), strict=True):
        artifacts.save_confidence(name, np.full((4, 4), confidence))

    mostly_lawn = rows(LAWN, LAWN, LAWN, IGNORE)
    mostly_lawn[0, 0] = ROAD  # 1 of 16 pixels: less than min_presence
    for name, truth in zip(names, (rows(SKY, SKY, LAWN, LAWN), mostly_lawn, rows(SKY, SKY, SKY, SKY)), strict=False):
        save_label_image(truth_of(artifacts, name), truth)

    save_segmenter(artifacts, network(always=LAWN), background)
    curve = [(1, "2.000000", "0.10", ""), (2, "1.500000", "0.05", "0.250000"), (3, "1.250000", "0.01", "")]
    save_table(artifacts.metrics_path("train/curve.csv"), ("step", "loss", "lr", "val_miou"), curve)
    return artifacts


def measured(artifacts: Artifacts, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Run eval with what `changes` says of its section; return metrics/eval.json."""
    evaluate.run(params(**changes), artifacts, Runtime(1, "cpu"))
    return load_json(artifacts.metrics_path("eval.json"))


def truth_of(artifacts: Artifacts, frame: str) -> Path:
    """Return where the truth of a frame lies."""
    return artifacts.root / "data" / "truth" / f"{frame}.png"


def network(always: int | None = None) -> torch.nn.Module:
    """Return a small U-Net of random weights, or one that answers the id `always` everywhere."""
    torch.manual_seed(0)
    built = unet.build(len(CLASSES), ENCODER, None, **OPTIONS)
    if always is not None:
        with torch.no_grad():
            head = built.segmentation_head[0]
            head.weight.zero_()
            head.bias.zero_()
            head.bias[always] = 5.0
    return built


def save_segmenter(artifacts: Artifacts, built: torch.nn.Module, background: bool = False) -> None:
    """Write models/segmenter as train does."""
    ids = range(0 if background else 1, len(CLASSES) + 1)
    config = describe("unet", ENCODER, OPTIONS, CLASSES.names, list(ids))
    artifacts.save_segmenter(built.state_dict(), config)
