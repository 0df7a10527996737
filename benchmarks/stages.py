"""Time a frame of each stage on the default pipeline, with all reading and writing, against the bare library below."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.project import Project, default_project
from benchmarks.timing import Result, compare
from wildseg.cam.engine import input_size
from wildseg.core import lookup
from wildseg.encoders import clip
from wildseg.labels.views import tile_boxes

FRAMES = 8  # of the default's key frames, for the stages after extract
STEPS = 12  # of training
RUNS = 3


def measure() -> Iterator[Result]:
    """Yield the time of each stage in the order of the pipeline: each reads what the one before left."""
    with default_project() as project:
        project.run("extract")
        project.thin(FRAMES)
        yield from label(project)
        yield from cam(project)
        project.run("crf")
        yield train(project)
        yield evaluate(project)


def label(project: Project) -> Iterator[Result]:
    """Against as many images through the bare image tower as the stage passes through it for each frame."""
    model = _clip(project)
    frames = len(project.artifacts.load_frames())
    for tiles_by, tiles, passes in (("attention", 6, 1), ("crop", 2, len(tile_boxes(2)))):
        options = {"clip": {"tiles": tiles, "tiles_by": tiles_by}}
        settings = replace(project.params, label=replace(project.params.label, options=options))
        pixels = torch.randn(passes, 3, *model.size)
        with _one_core():
            yield compare(
                f"label on one core, a frame in {len(tile_boxes(tiles))} views by {tiles_by}",
                partial(project.run, "label", settings, workers=1),
                partial(_encode, model, pixels, frames),
                f"open_clip's `encode_image`, {passes} image{'s' if passes > 1 else ''}",
                per=frames,
                runs=RUNS,
            )
    project.run("label")  # what the next stages read is the default's


def cam(project: Project) -> Iterator[Result]:
    """Against bare forward passes of the same sizes, and against the grad-cam package, which takes a pass a class."""
    model = _clip(project)
    frames = [frame.name for frame in project.artifacts.load_frames()]
    shape = project.artifacts.load_image(frames[0]).shape[:2]
    settings = project.params.cam
    sizes = [input_size(shape, model.vit.patch, scale, settings.max_side) for scale in settings.scales]
    towers = [_for_size(model, size) for size in sizes]
    images = [torch.randn(1, 3, *size) for size in sizes]
    labels = project.artifacts.load_labels(project.params.classes.names)
    present = [np.flatnonzero(labels[frame]).tolist() for frame in frames]
    texts = torch.randn(len(project.params.classes), model.network.text_projection.shape[-1])

    def forward() -> None:
        for tower, pixels in zip(towers, images, strict=True):
            _forward(tower, pixels, len(frames))

    def package() -> None:
        for tower, pixels in zip(towers, images, strict=True):
            _grad_cam_package(tower, pixels, texts, present)

    name = f"cam on one core, a frame of {sum(map(len, present)) / len(frames):.1f} classes at {len(sizes)} scales"
    run = partial(project.run, "cam", workers=1)
    with _one_core():
        yield compare(name, run, forward, "open_clip's image tower alone", per=len(frames), runs=RUNS)
        yield compare(name, run, package, "the grad-cam package", per=len(frames), runs=RUNS)


def train(project: Project) -> Result:
    """Against the same network, optimiser and batch size on random numbers: no files, augmentation or validation."""
    settings = replace(project.params.train, steps=STEPS)
    network = _network(project).train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images = torch.randn(settings.batch_size, 3, settings.crop, settings.crop)
    images = images.contiguous(memory_format=torch.channels_last)
    masks = torch.randint(1, len(project.params.classes) + 1, (settings.batch_size, settings.crop, settings.crop))

    def bare() -> None:
        for _ in range(STEPS):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images), masks).backward()
            optimiser.step()

    run = partial(project.run, "train", replace(project.params, train=settings))
    name = f"train, an image of {settings.crop}x{settings.crop}"
    each = STEPS * settings.batch_size
    return compare(name, run, bare, "forward, backward and AdamW on random numbers", per=each, runs=RUNS)


def evaluate(project: Project) -> Result:
    """Against the bare network on the frames that are measured."""
    frames = project.artifacts.load_frames("test")
    height, width, _ = project.artifacts.load_image(frames[0].name).shape
    network = _network(project).eval().to(memory_format=torch.channels_last)
    pixels = torch.randn(1, 3, height, width).contiguous(memory_format=torch.channels_last)
    bare = partial(_forward, network, pixels, len(frames))
    run = partial(project.run, "eval")
    name = "eval with pictures, a test frame"
    return compare(name, run, bare, "one forward pass of the network", per=len(frames), runs=RUNS)


# Parts ---------------------------------------------------------------------------------------------------------------


def _clip(project: Project) -> clip.Clip:
    names = project.params.clip
    return clip.load(names.model, names.pretrained, root=project.artifacts.root)


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    # A stage with one worker keeps torch to one thread; so must its peer, and only for as long.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def _encode(model: clip.Clip, pixels: torch.Tensor, times: int) -> None:
    for _ in range(times):
        model.network.encode_image(pixels)


@torch.no_grad()
def _forward(network: nn.Module, pixels: torch.Tensor, times: int) -> None:
    for _ in range(times):
        network(pixels)


def _for_size(model: clip.Clip, size: tuple[int, int]) -> nn.Module:
    """The image tower with places for the patches of another size; what they say does not matter for its speed."""
    tower = copy.deepcopy(model.network.visual)
    patches = (size[0] // model.vit.patch[0]) * (size[1] // model.vit.patch[1])
    tower.positional_embedding = nn.Parameter(torch.zeros(1 + patches, tower.positional_embedding.shape[1]))
    tower.grid = (size[0] // model.vit.patch[0], size[1] // model.vit.patch[1])
    return tower


def _grad_cam_package(tower: nn.Module, pixels: torch.Tensor, texts: torch.Tensor, present: list[list[int]]) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    height, width = tower.grid

    def reshape(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1:].unflatten(1, (height, width)).permute(0, 3, 1, 2)

    classifier = _Classifier(tower, texts)
    layer = tower.transformer.resblocks[-1].ln_1
    with GradCAM(model=classifier, target_layers=[layer], reshape_transform=reshape) as package:
        for classes in present:
            for index in classes:
                package(input_tensor=pixels, targets=[ClassifierOutputTarget(index)])


class _Classifier(nn.Module):
    def __init__(self, tower: nn.Module, texts: torch.Tensor) -> None:
        super().__init__()
        self.tower, self.texts = tower, texts

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.tower(pixels) @ self.texts.T


def _network(project: Project) -> nn.Module:
    settings = project.params.train
    build = lookup.load("methods.architectures", settings.architecture).build
    options = settings.options.get(settings.architecture, {})
    return build(len(project.params.classes), settings.encoder, None, **options)
