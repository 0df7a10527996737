"""Stage 5: key frames and their pseudo masks, or scribbles or points -> a segmentation model, never trained twice.

With `train.rounds` above 1 each round is a training of its own, under a key of its own: it is found in the result
store, resumed after a kill, and reused by an experiment of more rounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir, save_json
from wildseg.core.progress import track
from wildseg.encoders.cnn.build import loaded
from wildseg.execution import large_entries
from wildseg.execution.result_store import ResultStore, note
from wildseg.execution.runtime import Runtime
from wildseg.segment import architecture, fit, teacher
from wildseg.segment.objective import NAME
from wildseg.stages.train.inputs import TrainingInputs, read
from wildseg.stages.train.keys import keys
from wildseg.stages.train.rounds import next_round
from wildseg.tracking.round_curves import RoundCurves
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.events import TrainingResult

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime, accept: Callable[[], object] = lambda: None) -> None:
    """Write models/segmenter, metrics/train.json and metrics/train/curve.csv, from the result store where it has them.

    `accept` is called when all is written and before the result is stored; where it raises, a checkpoint stays.

    Raises:
        DataError: no frame with a labelled pixel, or masks that are missing, broken or of other classes.
        WildsegError: a network, its weights or the device do not exist.
    """
    torch.set_num_threads(min(torch.get_num_threads(), runtime.workers))
    first = inputs = read(params, artifacts, runtime)
    round_keys = keys(inputs, runtime)
    store = ResultStore.of(artifacts.root, "train")
    checkpoints = _checkpoints(artifacts, round_keys)
    processes = inputs.context.distributed
    stored: list[bool] = []  # by round: whether it was in the store

    with RoundCurves(artifacts, params) as curves:
        for number, key in enumerate(round_keys, 1):
            if number > 1:
                inputs = next_round(first, number)
            found = _restore(artifacts, store, key, number) if processes.is_main else None
            stored.append(processes.any(found is not None))
            if not stored[-1]:
                found = _train(inputs, checkpoints[number - 1], runtime, curves)
            if processes.is_main and found:
                curves.done.append(found)
                line = f"{fit.summary(found, inputs.data)}{', from the cache' if stored[-1] else ''}"
            if processes.is_main and number < len(round_keys):
                print(f"train: round {number} of {len(round_keys)}: {line}", flush=True)
                _keep(first, runtime, store, round_keys, stored, curves)
        if processes.is_main:
            curves.send(0)
            _write(inputs, curves)
    if processes.is_main:
        print(f"train: {line}")
        accept()
        _keep(first, runtime, store, round_keys, stored, curves)
        note(store, "train", sum(stored), len(stored) - sum(stored))
        checkpoints[0].remove()
    processes.close()


def _train(inputs: TrainingInputs, checkpoints: Checkpoints, runtime: Runtime, curves: RoundCurves) -> TrainingResult:
    """Train to the end, from a checkpoint if one fits; the main process writes and reports what the others compute."""
    params, artifacts, config, context = inputs.params, inputs.artifacts, inputs.config, inputs.context
    build = architecture.builder(inputs.architecture, inputs.phrases, config.trained_ids, artifacts.root)
    loss = lookup.load("methods.losses", config.train.loss, "train.loss").loss
    trainer = fit.trainer(config, build, loss, inputs.data, inputs.norm, context)
    restored = checkpoints.restore(trainer)
    context.distributed.check_same(trainer.step, "step of the checkpoint")
    events = fit.events(trainer, config, inputs.data, inputs.norm, runtime.workers)
    if not context.distributed.is_main:
        deque(events, maxlen=0)
        return trainer.result()

    if config.train.encoder_weights:
        print(f"train: {loaded(trainer.objective.networks[NAME])}; {inputs.norm}", flush=True)
    if checkpoints.unusable:
        print(f"train: {checkpoints.unusable}; begins anew", flush=True)
    number = len(curves.done) + 1
    if restored:
        of_round = f" of round {number}" if params.train.rounds > 1 else ""
        print(f"train: goes on from step {trainer.step} of {config.train.steps}{of_round}", flush=True)
    if config.held_out:
        print(f"train: {', '.join(config.train.hold_out)} held out: their pixels are ignored", flush=True)
    if number == 1:
        empty_dir(artifacts.segmenter_folder)
    curves.send(trainer.step, trainer.history, trainer.best.value if trainer.best else None)
    for event in track(events, config.train.steps - trainer.step, "train"):
        if event.curves:
            curves.log(trainer.history, trainer.best.value if trainer.best else None)
        if event.step % params.train.checkpoint_every == 0:
            checkpoints.save(trainer)
    artifacts.save_segmenter_weights(teacher.weights(trainer) | _held_out(inputs))
    if number < params.train.rounds:
        checkpoints.save(trainer)  # of a finished round, for where nothing is stored
    return trainer.result()


def _held_out(inputs: TrainingInputs) -> dict[str, torch.Tensor]:
    """Return what of the weights names classes, with those that were held out; nothing where none was."""
    if not inputs.config.held_out:
        return {}
    where = str(inputs.artifacts.segmenter_folder)
    return architecture.vocabulary(inputs.architecture, inputs.described, inputs.phrases, where)


def _restore(artifacts: Artifacts, store: ResultStore, key: str, number: int) -> TrainingResult | None:
    """Put the weights of a stored round in place and return its result; None where there is none."""
    if number == 1 and store.has(key):
        empty_dir(artifacts.segmenter_folder)
    return large_entries.get(store, key, {"weights": artifacts.segmenter_weights}, TrainingResult.of_record)


def _keep(
    first: TrainingInputs,
    runtime: Runtime,
    store: ResultStore,
    round_keys: Sequence[str],
    stored: Sequence[bool],
    curves: RoundCurves,
) -> None:
    """Store the round that was trained last, unless it came from the store or an input has changed meanwhile."""
    with suppress(DataError):  # an input that is gone is another input
        if not stored[-1] and keys(first, runtime) == round_keys:
            record, files = curves.done[-1].record(), {"weights": first.artifacts.segmenter_weights}
            large_entries.put(store, round_keys[len(stored) - 1], record, files)


def _write(inputs: TrainingInputs, curves: RoundCurves) -> None:
    artifacts = inputs.artifacts
    if artifacts.frames_are_packed():
        for number in range(2, len(curves.done) + 1):
            artifacts.pack_round_masks(number)
    artifacts.save_segmenter_config(inputs.described)
    artifacts.save_curve(list(curves.points()))
    save_json(artifacts.metrics_path("train.json"), fit.report(curves.done, inputs.data))


def _checkpoints(artifacts: Artifacts, round_keys: Sequence[str]) -> list[Checkpoints]:
    """Return the checkpoint of each round; removing the first one removes all."""
    first = Checkpoints(artifacts.scratch_folder / "train", round_keys[0][:16])
    own = first.path.parent
    return [first, *(Checkpoints(own / f"round_{number}", key[:16]) for number, key in enumerate(round_keys[1:], 2))]
