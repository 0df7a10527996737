"""Stage 3: one activation map per class that is in a key frame."""

from __future__ import annotations

import numpy as np

from wildseg import plugins
from wildseg.artifacts import Artifacts, fresh
from wildseg.cam.affinity import Affinity
from wildseg.cam.engine import Recipe, activation_maps
from wildseg.encoders import clip
from wildseg.encoders.prompts import competitors
from wildseg.errors import DataError
from wildseg.params import Params
from wildseg.progress import track
from wildseg.runtime import Runtime, torch_device


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Read key frames and their labels, trace each frame once, write one file of maps per frame."""
    frames = [frame.name for frame in artifacts.load_frames()]
    labels = artifacts.load_labels(params.classes.names)
    if missing := [frame for frame in frames if frame not in labels]:
        raise DataError(
            f"{artifacts.labels_csv}: expected labels for each of {len(frames)} frames, {len(missing)} have none, the "
            f"first is {missing[0]!r}; run 'dvc repro label'"
        )
    recipe = make_recipe(params)
    model = clip.load(
        params.clip.model, params.clip.pretrained, device=torch_device(runtime.device), root=artifacts.root
    )
    model.vit  # noqa: B018 - a model that cannot be traced is told before anything is removed
    background, _ = competitors(params.background, params.classes.phrases)
    texts = model.classifier((*params.classes.phrases, *((phrase,) for phrase in background)), params.clip.templates)

    fresh(artifacts.cams_folder)
    written = 0
    for frame in track(frames, len(frames), "cam"):
        present = np.flatnonzero(labels[frame])
        image = artifacts.load_image(frame)
        maps = activation_maps(model, image, texts, present.tolist(), len(params.classes), recipe)
        artifacts.save_maps(frame, present, maps)
        written += len(maps)
    empty = sum(not labels[frame].any() for frame in frames)
    print(f"cam: {len(frames)} frames, {written} maps by {params.cam.method}, {empty} frames without any")


def make_recipe(params: Params) -> Recipe:
    """Gather what params.yaml says about maps."""
    cam = params.cam
    return Recipe(
        plugins.load("cam.methods", cam.method, "cam.method"),
        cam.options.get(cam.method, {}),
        Affinity(cam.caa.layers, cam.caa.skip_last, cam.caa.sinkhorn, cam.caa.power, cam.caa.box)
        if cam.refine == "caa"
        else None,
        cam.scales,
        cam.flip,
        cam.max_side,
    )
