"""The training loop, from decoded frames to optimiser, against bare steps of the same network on ready batches.

    python -m benchmarks train

Both sides take the same batches, the same loss and AdamW; the peer's lie in memory, augmented. The excess is drawing
and augmenting crops, checks of the loss and bookkeeping. Images per second are 1,000 / ours; their share of the peer's
is 1 / ratio. Weights are random, which costs what trained ones cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.project import Project, default_project
from benchmarks.timing import Result, compare_seconds, seconds
from wildseg.core import lookup
from wildseg.segment import fit, supervision
from wildseg.segment.augment import augmentation
from wildseg.segment.data import Batches
from wildseg.segment.losses import cross_entropy
from wildseg.training.context import TrainContext

FRAMES, STEPS, RUNS = 24, 10, 5
CASES: Mapping[str, Mapping[str, Any]] = {  # changes of the section train
    "unet, tu-regnetx_002": {},
    "deeplabv3plus, resnet50": {"architecture": "deeplabv3plus", "encoder": "resnet50", "crop": 256, "batch_size": 4,
                                "options": {}},
}  # fmt: skip


def measure() -> Iterator[Result]:
    """Yield the time of an image in the training of each case."""
    with default_project() as project:
        project.run("extract")
        project.thin(FRAMES)
        for stage in ("label", "cam", "crf"):
            project.run(stage)
        for name, changes in CASES.items():
            yield compared(project, name, changes)


def compared(project: Project, name: str, changes: Mapping[str, Any], steps: int = STEPS, runs: int = RUNS) -> Result:
    """Time the steps of a whole training loop, and those steps on batches that are ready."""
    train = replace(project.params.train, steps=steps, class_weights="none", **changes)
    classes, artifacts = len(project.params.classes), project.artifacts
    ids = tuple(range(0 if project.params.background else 1, classes + 1))
    config = fit.FitConfig(train, classes, ids, guided=False)
    load_mask = partial(artifacts.load_supervision, "masks", select=None)
    data = supervision.read(artifacts.supervised_frames("masks"), artifacts.load_image, load_mask, ids)
    build = lookup.load("methods.architectures", train.architecture).build
    loss = lookup.load("methods.losses", "cross_entropy").loss
    low, high = train.scale
    transform = augmentation(train.crop, (low, high), train.flip, train.colour, config.norm.mean, config.norm.std)
    batches = Batches(data.train, transform, train.batch_size, project.params.seed)
    ready = [batches[step] for step in range(steps)]
    for batch in ready:
        batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
    bare = build(classes, train.encoder, None, **config.options).train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(bare.parameters(), lr=train.lr, weight_decay=train.weight_decay)

    def whole() -> float:
        trainer = fit.trainer(config, build, loss, data, config.norm, TrainContext(project.params.seed))
        cores = torch.get_num_threads()
        return seconds(lambda: [*fit.events(trainer, config, data, config.norm, cores)])

    def steps_alone() -> None:
        for batch in ready:
            optimiser.zero_grad()
            cross_entropy(bare(batch["image"]), batch["mask"]).backward()
            optimiser.step()

    return compare_seconds(
        f"train {name}, an image of {train.crop}x{train.crop}", whole, partial(seconds, steps_alone),
        "forward, backward and AdamW on the same batches, ready", per=steps * train.batch_size, runs=runs,
    )  # fmt: skip
