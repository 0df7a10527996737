"""Stage 2: which classes are in each key frame."""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from wildseg import plugins
from wildseg.artifacts import Artifacts
from wildseg.encoders import clip
from wildseg.encoders.prompts import competitors
from wildseg.errors import DataError
from wildseg.labels.decide import correct, decide
from wildseg.labels.interface import NamedImage, Question
from wildseg.params import Params
from wildseg.progress import track
from wildseg.runtime import Runtime, torch_device


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Read key frames, ask the label method, decide, apply a person's corrections, write labels.csv and scores.csv."""
    method = plugins.load("labels.methods", params.label.method, "label.method")
    options = params.label.options.get(params.label.method, {})
    names, frames = params.classes.names, [frame.name for frame in artifacts.load_frames()]
    images = [NamedImage(frame, partial(artifacts.load_image, frame)) for frame in frames]
    for leftover in (artifacts.labels_csv, artifacts.scores_csv):
        leftover.unlink(missing_ok=True)

    answers = list(track(method.label(images, question(params, artifacts, runtime), **options), len(frames), "label"))
    scores = np.stack([answer.scores for answer in answers])
    present = decide(scores, names, answers[0].threshold, params.label.threshold, params.label.fallback)
    overrides = artifacts.load_labels(names, artifacts.overrides_csv) if artifacts.overrides_csv.is_file() else {}
    present = correct(frames, present, overrides, artifacts.overrides_csv)
    if not present.any():
        raise DataError(
            f"label: expected some class in some of {len(frames)} frames, found none (the highest score is "
            f"{scores.max():.3f}); lower label.threshold, set label.fallback to argmax, or change the phrases"
        )

    artifacts.save_labels(frames, names, present)
    artifacts.save_scores(frames, names, scores)
    empty = int((~present.any(1)).sum())
    corrected = f", {len(overrides)} by hand" if overrides else ""
    print(f"label: {len(frames)} frames, {present.sum(1).mean():.1f} classes a frame, {empty} without any{corrected}")


def question(params: Params, artifacts: Artifacts, runtime: Runtime) -> Question:
    """Gather what a label method may need; the encoder is loaded only if it is asked for."""
    background, dropped = competitors(params.background, params.classes.phrases)
    if dropped:
        print(f"label: {len(background)} background phrases; left out, since they name a class: {', '.join(dropped)}")

    @cache
    def encoder() -> clip.Clip:
        device = torch_device(runtime.device)
        return clip.load(params.clip.model, params.clip.pretrained, device=device, root=artifacts.root)

    return Question(
        params.classes.names,
        params.classes.phrases,
        background,
        params.clip.templates,
        encoder,
        lambda path: artifacts.load_labels(params.classes.names, artifacts.root / path),
    )
