"""Time a frame of each stage on the default pipeline, with all reading and writing, against the bare library below."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
from pydensecrf.densecrf import DenseCRF2D
from torch import nn

from benchmarks.project import Project, default_project
from benchmarks.timing import Result, compare
from wildseg import plugins
from wildseg.cam.engine import input_size
from wildseg.crf.unary import energies, upsample
from wildseg.encoders import clip
from wildseg.labels.views import boxes

FRAMES = 8  # of the default's key frames, for the stages after extract
STEPS = 12  # of training
RUNS = 3


def measure() -> Iterator[Result]:
    """Yield the time of each stage in the order of the pipeline: each reads what the one before left."""
    with default_project() as project:
        yield extract(project)
        project.thin(FRAMES)
        yield label(project)
        yield from cam(project)
        yield crf(project)
        yield train(project)
        yield evaluate(project)


def extract(project: Project) -> Result:
    """Against decoding every frame of the same videos and looking at none."""
    folder = project.artifacts.root / project.params.extract.source
    videos = sorted(path for path in folder.iterdir() if path.suffix == ".mp4")
    return compare(
        "extract, a decoded frame",
        partial(project.run, "extract"),
        lambda: [_decode(video) for video in videos],
        "PyAV decoding the same videos",
        per=sum(_decode(video) for video in videos),
        runs=RUNS,
    )


def _decode(video: Path) -> int:
    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def label(project: Project) -> Result:
    """Against as many images through the bare image tower as the stage takes looks at each frame."""
    model = _clip(project)
    looks = len(boxes(project.params.label.options["clip"]["tiles"]))
    pixels = torch.randn(looks, 3, *model.size)
    frames = len(project.artifacts.load_frames())
    return compare(
        f"label, a frame of {looks} looks",
        partial(project.run, "label"),
        lambda: [_encode(model, pixels) for _ in range(frames)],
        f"open_clip's `encode_image` of {looks} images",
        per=frames,
        runs=RUNS,
    )


def cam(project: Project) -> Iterator[Result]:
    """Against one bare forward pass of the same pixels, and against the grad-cam package, one pass a class."""
    model = _clip(project)
    frames = [frame.name for frame in project.artifacts.load_frames()]
    size = input_size(
        project.artifacts.load_image(frames[0]).shape[:2], model.vit.patch, max_side=project.params.cam.max_side
    )
    pixels = torch.randn(1, 3, *size)
    tower = _for_size(model, size)
    run = partial(project.run, "cam")
    forward = partial(_forward, tower, pixels, len(frames))
    yield compare("cam, a frame", run, forward, "one forward pass of open_clip's tower", per=len(frames), runs=RUNS)

    labels = project.artifacts.load_labels(project.params.classes.names)
    present = [np.flatnonzero(labels[frame]).tolist() for frame in frames]
    texts = torch.randn(len(project.params.classes), model.network.text_projection.shape[-1])
    package = partial(_grad_cam_package, tower, pixels, texts, present)
    each = f"{sum(map(len, present)) / len(frames):.1f} classes"
    yield compare(f"cam, a frame of {each}", run, package, "the grad-cam package", per=len(frames), runs=RUNS)


def crf(project: Project) -> Result:
    """Against pydensecrf alone, with unaries that are ready, on one core as it is."""
    settings = project.params.crf
    frames = [frame.name for frame in project.artifacts.load_frames()]
    ready = []
    for frame in frames:
        image = project.artifacts.load_image(frame).copy()  # it takes no read-only arrays
        _, maps = project.artifacts.load_maps(frame)
        if len(maps) > 1:
            unary = energies(upsample(maps, image.shape[:2]), settings.sharpen)
            ready.append((np.ascontiguousarray(unary.reshape(len(maps), -1)), image))

    def bare() -> None:
        for unary, image in ready:
            dense = DenseCRF2D(image.shape[1], image.shape[0], len(unary))
            dense.setUnaryEnergy(unary)
            dense.addPairwiseGaussian(sxy=settings.gaussian.sxy, compat=settings.gaussian.weight)
            dense.addPairwiseBilateral(
                sxy=settings.bilateral.sxy, srgb=settings.bilateral.srgb, rgbim=image, compat=settings.bilateral.weight
            )
            np.array(dense.inference(settings.iterations)).argmax(0)

    run = partial(project.run, "crf", workers=1)
    return compare("crf on one core, a frame", run, bare, "pydensecrf on one core", per=len(frames), runs=RUNS)


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


@torch.no_grad()
def _encode(model: clip.Clip, pixels: torch.Tensor) -> None:
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
    build = plugins.load("segment.architectures", settings.architecture).build
    options = settings.options.get(settings.architecture, {})
    return build(len(project.params.classes), settings.encoder, None, **options)
