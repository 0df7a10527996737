"""Stage 2: which classes are in each key frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg import cache, plugins, source
from wildseg.artifacts import Artifacts
from wildseg.cache import Cache
from wildseg.encoders.prompts import competitors
from wildseg.encoders.weights import identity
from wildseg.errors import DataError
from wildseg.failures import Failures
from wildseg.labels.decide import correct, decide
from wildseg.labels.interface import Answer, NamedImage, Question
from wildseg.parallel import crew, gpus
from wildseg.params import Params
from wildseg.progress import track
from wildseg.runtime import Runtime, worker_device

if TYPE_CHECKING:  # workers import torch, all at the same time; this process has no use for it
    from wildseg.encoders.clip import Clip


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Read key frames, ask the label method, decide, apply a person's corrections, write labels.csv and scores.csv.

    Frames that cannot be read are in neither, and listed in data/labels/quarantine.csv.

    Raises:
        DataError: no key frames, too many that cannot be read, no class in any, or a mistake in a person's table.
        ModelError: the model cannot be had.
    """
    names, frames = params.classes.names, [frame.name for frame in artifacts.load_frames()]
    # Read first: a slip in it is told before anything is computed or removed.
    overrides = artifacts.load_labels(names, artifacts.overrides_csv) if artifacts.overrides_csv.is_file() else {}
    for leftover in (artifacts.labels_csv, artifacts.scores_csv, artifacts.quarantine_csv("label")):
        leftover.unlink(missing_ok=True)
    _note_left_out(params)

    kept = Cache(artifacts.root, "label", _recipe(params, artifacts, runtime))
    failures = Failures("label", params.label.max_failures, len(frames))
    answers = _ask(params, artifacts, runtime, frames, kept, failures)
    corrections = {frame: present for frame, present in overrides.items() if frame not in dict(failures.rows)}
    frames = failures.without(frames)
    scores = np.stack([answer.scores for answer in answers])
    present = decide(scores, names, answers[0].threshold, params.label.threshold, params.label.fallback)
    present = correct(frames, present, corrections, artifacts.overrides_csv)
    if not present.any():
        raise DataError(
            f"label: expected some class in some of {len(frames)} frames, found none (the highest score is "
            f"{scores.max():.3f}); lower label.threshold, set label.fallback to argmax, or change the phrases"
        )

    artifacts.save_labels(frames, names, present)
    artifacts.save_scores(frames, names, scores)
    artifacts.save_quarantine("label", failures.rows)
    empty = int((~present.any(1)).sum())
    corrected = f", {len(corrections)} by hand" if corrections else ""
    mean = present.sum(1).mean()
    print(f"label: {len(frames)} frames, {mean:.1f} classes a frame, {empty} without any{corrected}{failures}{kept}")


@dataclass(frozen=True)
class _Tools:
    params: Params
    artifacts: Artifacts
    question: Question


def _ask(
    params: Params, artifacts: Artifacts, runtime: Runtime, frames: list[str], kept: Cache[str], failures: Failures
) -> list[Answer]:
    prepare = partial(_prepare, params, artifacts, runtime.device)
    if "encoder" not in plugins.needs("labels.methods", params.label.method):
        return list(track(_answers(frames, prepare(0)), len(frames), "label"))
    workers = lambda number: crew(runtime, number, prepare, model=True)  # noqa: E731
    records = dict(track(kept.serve(frames, workers, failures=failures), len(frames), "label"))
    in_order = (records[frame] for frame in failures.without(frames))
    return [Answer(np.array(scores), threshold, said) for scores, threshold, said in in_order]


def _recipe(params: Params, artifacts: Artifacts, runtime: Runtime) -> cache.Recipe[str]:
    method = params.label.method
    ingredients = {
        "method": [method, params.label.options.get(method, {})],
        "model": identity(params.clip.model, params.clip.pretrained, artifacts.root),
        "words": [params.classes, params.background, params.clip.templates],
        "code": source.digest("stages.label", f"labels.methods.{method}"),
        "libraries": cache.versions("torch", "open_clip_torch", "timm", "transformers", "numpy", "pillow"),
        "devices": gpus(runtime)[:1],
    }
    return cache.Recipe(ingredients, partial(_inputs, artifacts), _no_files, _answer)


def _inputs(artifacts: Artifacts, frame: str) -> tuple[bytes]:
    return (artifacts.frame_bytes(frame),)


def _no_files(_: str) -> dict[str, Path]:
    return {}  # labels of all frames stand in one table


def _prepare(params: Params, artifacts: Artifacts, device: str, rank: int) -> _Tools:
    """Gather what a label method may need; the encoder is loaded only if it is asked for."""

    @lru_cache(maxsize=1)
    def encoder() -> Clip:
        from wildseg.encoders import clip

        on = worker_device(device, rank)
        return clip.load(params.clip.model, params.clip.pretrained, device=on, root=artifacts.root)

    question = Question(
        params.classes.names,
        params.classes.phrases,
        competitors(params.background, params.classes.phrases)[0],
        params.clip.templates,
        encoder,
        lambda path: artifacts.load_labels(params.classes.names, artifacts.root / path),
    )
    return _Tools(params, artifacts, question)


def _answers(frames: list[str], tools: _Tools) -> Iterator[Answer]:
    method = plugins.load("labels.methods", tools.params.label.method, "label.method")
    images = [NamedImage(frame, partial(tools.artifacts.load_image, frame)) for frame in frames]
    return method.label(images, tools.question, **tools.params.label.options.get(tools.params.label.method, {}))


def _answer(frame: str, tools: _Tools) -> tuple[list[float], float, dict[str, Any]]:
    (answer,) = _answers([frame], tools)
    return answer.scores.tolist(), answer.threshold, dict(answer.record)


def _note_left_out(params: Params) -> None:
    background, dropped = competitors(params.background, params.classes.phrases)
    if dropped:
        print(f"label: {len(background)} background phrases; left out, since they name a class: {', '.join(dropped)}")
