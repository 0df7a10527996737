"""Stage 3: one activation map per class that is in a key frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wildseg import cache, plugins, source
from wildseg.artifacts import Artifacts
from wildseg.cache import Cache
from wildseg.encoders.weights import identity
from wildseg.errors import DataError
from wildseg.failures import Failures
from wildseg.files import fresh
from wildseg.parallel import Workers, crew, gpus
from wildseg.params import Params
from wildseg.progress import track
from wildseg.runtime import Runtime, worker_device

if TYPE_CHECKING:  # workers import torch, all at the same time; this process has no use for it
    import torch

    from wildseg.cam.engine import Recipe
    from wildseg.encoders.clip import Clip


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Read key frames and their labels, trace each new frame once, write one file of maps per frame.

    Frames that cannot be read are listed in data/cams/quarantine.csv, after those of the stage before.

    Raises:
        DataError: no key frames, frames without a line in labels.csv, or no prompts.json.
        ModelError: the model cannot be had, or cannot be traced.
    """
    aside = artifacts.load_quarantine("label")
    frames = [frame.name for frame in artifacts.load_frames(after="label")]
    labels = artifacts.load_labels(params.classes.names)
    if missing := [frame for frame in frames if frame not in labels]:
        raise DataError(
            f"{artifacts.labels_csv}: expected labels for each of {len(frames)} frames, {len(missing)} have none, the "
            f"first is {missing[0]!r}; run 'dvc repro label'"
        )
    work = [(frame, np.flatnonzero(labels[frame]).tolist()) for frame in frames]
    kept = Cache(artifacts.root, "cam", _recipe(params, artifacts, runtime))
    written = empty = 0
    failures = Failures("cam", params.cam.max_failures, len(work), name=itemgetter(0))
    begin = partial(fresh, artifacts.cams_folder)
    served = kept.serve(work, partial(_crew, params, artifacts, runtime), begin, failures)
    for _, maps in track(served, len(work), "cam"):
        written += maps
        empty += maps == 0
    done = failures.without(frames)
    if artifacts.frames_are_packed():
        artifacts.pack_maps(done)
    artifacts.save_quarantine("cam", aside + failures.rows)
    print(f"cam: {len(done)} frames, {written} maps by {params.cam.method}, {empty} frames without any{failures}{kept}")


def make_recipe(params: Params) -> Recipe:
    """Gather what params.yaml says about maps."""
    from wildseg.cam.affinity import Affinity
    from wildseg.cam.engine import Recipe

    cam, caa = params.cam, params.cam.caa
    refine = Affinity(caa.layers, caa.skip_last, caa.sinkhorn, caa.power, caa.box) if cam.refine == "caa" else None
    method = plugins.load("cam.methods", cam.method, "cam.method")
    return Recipe(method, cam.options.get(cam.method, {}), refine, cam.scales, cam.flip, cam.max_side)


# What a frame's maps depend on -----------------------------------------------------------------------------------

_Work = tuple[str, list[int]]  # a frame and the indices of the classes in it


def _recipe(params: Params, artifacts: Artifacts, runtime: Runtime) -> cache.Recipe[_Work]:
    method, words = params.cam.method, artifacts.load_prompts()
    ingredients = {
        "cam": replace(params.cam, options={method: params.cam.options.get(method, {})}, max_failures=0.0),
        "model": identity(params.clip.model, params.clip.pretrained, artifacts.root),
        "words": [params.classes.phrases, words.background, words.templates],
        "code": source.digest("stages.cam", f"cam.methods.{method}"),
        "libraries": cache.versions("torch", "open_clip_torch", "transformers", "numpy", "scipy", "pillow"),
        "devices": gpus(runtime)[:1],
    }
    return cache.Recipe(ingredients, partial(_inputs, artifacts), partial(_files, artifacts), _write_maps)


def _inputs(artifacts: Artifacts, work: _Work) -> tuple[bytes, list[int]]:
    frame, present = work
    return artifacts.frame_bytes(frame), present


def _files(artifacts: Artifacts, work: _Work) -> dict[str, Path]:
    return {"maps": artifacts.maps_path(work[0])}


# In a worker -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tools:
    artifacts: Artifacts
    model: Clip
    texts: torch.Tensor  # (M, d), classes first, then background phrases
    num_classes: int
    recipe: Recipe


def _crew(params: Params, artifacts: Artifacts, runtime: Runtime, frames: int) -> Workers[_Tools]:
    return crew(runtime, frames, partial(_prepare, params, artifacts, runtime.device), model=True)


def _prepare(params: Params, artifacts: Artifacts, device: str, rank: int) -> _Tools:
    from wildseg.encoders import clip

    recipe = make_recipe(params)
    device = worker_device(device, rank)
    model = clip.load(params.clip.model, params.clip.pretrained, device=device, root=artifacts.root)
    model.vit  # noqa: B018 - a model that cannot be traced is told now
    words = artifacts.load_prompts()  # what label asked with
    texts = model.classifier((*params.classes.phrases, *((phrase,) for phrase in words.background)), words.templates)
    return _Tools(artifacts, model, texts, len(params.classes), recipe)


def _write_maps(work: _Work, tools: _Tools) -> int:
    # Maps go to the disk from here, and only their number goes back.
    from wildseg.cam.engine import activation_maps

    frame, present = work
    image = tools.artifacts.load_image(frame)
    maps = activation_maps(tools.model, image, tools.texts, present, tools.num_classes, tools.recipe)
    tools.artifacts.save_maps(frame, np.array(present, np.int16), maps)
    return len(maps)
