"""One MLflow run per pipeline run: trainings draw their curves in it live, `finish` adds everything else.

The first training opens it: `map_training`, where the stage `cam` trains a network, else `training`.


Where to: `MLFLOW_TRACKING_URI`, else ``sqlite:///mlflow.db`` beside dvc.yaml with its files in ``mlartifacts/``.
Tracking never changes an output and never fails a stage: its first error is one warning, and the stage continues
without it. `WILDSEG_TRACKING=off` switches it off. Run ids stay out of DVC's outputs, see `pending`.
"""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wildseg.artifacts.project import Artifacts
from wildseg.core.files import load_json, sha256_of
from wildseg.tracking import registry
from wildseg.tracking.facts import data_set, description, source
from wildseg.tracking.pending import end_interrupted, pending, record_path, remember
from wildseg.tracking.provenance import dvc_tags, finished_outputs, git_tags
from wildseg.tracking.quiet import quiet, short_reason
from wildseg.tracking.store import MlflowStore, connect
from wildseg.tracking.values import LONG_VALUES, flatten_params, grouped_metrics, shortened

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

    from wildseg.execution.params import Params

Result = TypeVar("Result")

LOSS = "loss"  # the curve that every training has
SECONDS_BETWEEN_SENDS = 2.0  # frequent enough for a live curve, and a fast loop does not wait for the server
OUTPUTS = "dvc_outputs.json"  # the artifact with the md5 of every output, whose tags are digests of stages
CAM, TRAIN, EVAL = "cam", "train", "eval"  # the stages that have curves, and the one that completes a run


class Recorder:
    """Runs calls of MLflow; the first failure is one warning line and switches the rest off."""

    def __init__(self) -> None:
        """Start switched on, unless `WILDSEG_TRACKING` is off."""
        self.on = os.environ.get("WILDSEG_TRACKING", "on").strip().lower() not in ("off", "0", "no", "false")

    def attempt(self, action: Callable[[], Result]) -> Result | None:
        """Return what `action` returns, or None if tracking is off or fails."""
        if not self.on:
            return None
        try:
            with quiet():
                return action()
        except Exception as error:  # whatever MLflow, its server, its database or the network may raise
            self.on = False
            print(f"tracking: this run is not logged to MLflow ({short_reason(error)}); the pipeline continues; "
                  "WILDSEG_TRACKING=off switches tracking off", file=sys.stderr, flush=True)  # fmt: skip
            return None


class Curve(Recorder):
    """The curves of a training in a run, sent as they grow."""

    def __init__(self, stage: str = TRAIN) -> None:
        """Start without points and without a run; `stage` is what the names of the curves begin with."""
        super().__init__()
        self.stage = stage
        self.store: MlflowStore | None = None
        self.run_id = ""
        self.last_step = 0  # that the run has: a training that continues from a checkpoint repeats some
        self._waiting: list[Metric] = []
        self._last_sent = time.monotonic()

    def log(self, step: int, **metrics: float) -> None:
        """Add a point to each of the curves ``<stage>/<name>``, unless the run has that step.

        Numbers that are not finite are left out.
        """
        if self.store is None or not self.on or step <= self.last_step:
            return
        self.last_step = step
        self._waiting += _points({f"{self.stage}/{name}": value for name, value in metrics.items()}, step)
        if time.monotonic() - self._last_sent >= SECONDS_BETWEEN_SENDS:
            self.attempt(self.send)

    def send(self) -> None:
        """Send the points that were not sent yet."""
        if self.store is not None:
            waiting, self._waiting = self._waiting, []
            self.store.log_metrics(self.run_id, waiting)
            self._last_sent = time.monotonic()

    def end(self, status: str) -> None:
        """Send the remaining points and the status of the training: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if self.store is not None:
            self.send()
            self.store.client.set_terminated(self.run_id, status)


@contextmanager
def training(artifacts: Artifacts, params: Params, start_step: int = 0) -> Iterator[Curve]:
    """Give the curve of a segmenter's training; save the model inside the ``with``.

    It continues the run of the map network that was trained before, and opens one where there is none. With
    `start_step` above 0 a killed training resumes from its checkpoint: then its run resumes, too.
    """

    def fits(record: Mapping[str, Any]) -> bool:
        return record.get("model") is None and (start_step > 0 or record.get("stage") == CAM)

    curve = Curve(TRAIN)
    with _running(curve, lambda: _open(curve, artifacts, params, "", fits)):
        yield curve
    if curve.store is not None:
        curve.attempt(lambda: _remember(artifacts, curve, "", _model_digest(artifacts)))


@contextmanager
def map_training(artifacts: Artifacts, params: Params, key: str) -> Iterator[Curve]:
    """Give the curves of a map network's training, ``cam/<name>``, and open the run of the pipeline.

    Args:
        artifacts: the pipeline's files.
        params: logged flat.
        key: of everything that the network depends on. A training of the same key that was killed resumes in its run.
    """

    def fits(record: Mapping[str, Any]) -> bool:
        return record.get("stage") == CAM and record.get("training") == key

    curve = Curve(CAM)
    with _running(curve, lambda: _open(curve, artifacts, params, key, fits)):
        yield curve


@contextmanager
def _running(curve: Curve, begin: Callable[[], None]) -> Iterator[None]:
    """Open the run of a curve, and report how the training ended."""
    curve.attempt(begin)
    try:
        yield
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        curve.attempt(lambda: curve.end(status))
        raise
    curve.attempt(lambda: curve.end("FINISHED"))


def finish(
    artifacts: Artifacts,
    params: Params,
    metrics: Mapping[str, Any],
    headline: Mapping[str, float | None],
    pictures: Sequence[Path],
) -> None:
    """Complete the run of the training that wrote models/segmenter, or open one if that run is complete.

    Args:
        artifacts: the pipeline's files.
        params: logged flat, ``cam.method``; the options of methods that were not chosen are left out.
        metrics: nested; logged in groups, ``segmenter/iou.lawn``, except what is None.
        headline: numbers by name, those that stand above all groups.
        pictures: files to show with the run.
    """
    recorder = Recorder()
    recorder.attempt(lambda: _finish(artifacts, params, metrics, headline, pictures))


def _open(
    curve: Curve, artifacts: Artifacts, params: Params, key: str, fits: Callable[[Mapping[str, Any]], bool]
) -> None:
    store = connect(artifacts.root)
    flat, _ = shortened(flatten_params(params, without=EVAL))
    run = pending(store, artifacts, flat, fits)
    if run is None:
        end_interrupted(store, artifacts)
        stages = (CAM, "crf", TRAIN, EVAL)
        run = _new_run(store, artifacts, params, unfinished=stages[stages.index(curve.stage) :])
    else:
        curve.last_step = store.last_step(run.info.run_id, f"{curve.stage}/{LOSS}")
    store.client.update_run(run.info.run_id, status="RUNNING")
    store.log_params(run.info.run_id, flat)
    curve.run_id, curve.store = run.info.run_id, store
    _remember(artifacts, curve, key)


def _remember(artifacts: Artifacts, curve: Curve, key: str, model: str | None = None) -> None:
    if curve.store is not None:
        remember(artifacts, curve.store, curve.run_id, curve.stage, key, model)


def _finish(
    artifacts: Artifacts,
    params: Params,
    metrics: Mapping[str, Any],
    headline: Mapping[str, float | None],
    pictures: Sequence[Path],
) -> None:
    store = connect(artifacts.root)
    flat, long = shortened(flatten_params(params))
    model = _model_digest(artifacts)
    run = pending(store, artifacts, flat, lambda record: (record.get("stage"), record.get("model")) == (TRAIN, model))
    if run is None:
        run = _new_run(store, artifacts, params, unfinished=(EVAL,))
        store.log_metrics(run.info.run_id, _curve_of_file(artifacts, TRAIN))
    run_id = run.info.run_id
    store.log_params(run_id, flat)
    store.log_tags(run_id, _tags(artifacts, unfinished=(EVAL,)))
    if outputs := finished_outputs(artifacts.root, unfinished=(EVAL,)):
        store.client.log_dict(run_id, outputs, OUTPUTS)
    if long:
        store.client.log_dict(run_id, long, LONG_VALUES)
    drawn = store.last_step(run_id, f"{CAM}/{LOSS}")  # of a map network that was trained in this run
    store.log_metrics(run_id, [point for point in _curve_of_file(artifacts, CAM) if point.step > drawn])
    above = {name: value for name, value in headline.items() if value is not None}
    store.log_metrics(run_id, _points({**above, **grouped_metrics({**_other_metrics(artifacts), **metrics})}, step=0))
    store.log_tags(run_id, {"mlflow.note.content": description(params, headline)})
    if (frames := data_set(artifacts, params)) is not None:
        store.client.log_inputs(run_id, datasets=[frames])
    store.log_files(run_id, pictures, "pictures")
    store.log_files(run_id, [artifacts.report_page] if artifacts.report_page.is_file() else [], "report")
    store.log_files(run_id, _measured(artifacts), "metrics")
    if artifacts.segmenter_folder.is_dir():
        with artifacts.model_alone() as folder:
            config = artifacts.load_segmenter_config()
            registry.log_model(store, run_id, folder, config, params.classes.with_background)
    store.client.set_terminated(run_id, "FINISHED")
    record_path(artifacts).unlink(missing_ok=True)  # the next eval is another run
    print(f"tracking: MLflow run {run.info.run_name} in {store.shown_uri}", file=sys.stderr, flush=True)


def _new_run(store: MlflowStore, artifacts: Artifacts, params: Params, unfinished: Collection[str]) -> Run:
    named = os.environ.get("DVC_EXP_NAME") or f"{params.cam.method}-{params.train.architecture}"
    run = store.client.create_run(store.experiment_id, run_name=named)
    store.log_tags(run.info.run_id, _tags(artifacts, unfinished))
    return run


def _tags(artifacts: Artifacts, unfinished: Collection[str]) -> dict[str, str]:
    tags = source() | git_tags(artifacts.root) | dvc_tags(artifacts.root, unfinished)
    if commit := tags.get("git.commit"):
        tags["mlflow.source.git.commit"] = commit  # the one that MLflow's page shows
    return tags


def _other_metrics(artifacts: Artifacts) -> dict[str, Any]:
    # Metrics of earlier stages: metrics/crf.json is logged as crf/coverage, ... Those of a training have a group of
    # their own, since metrics/train.json has a loss as the curve of the training has.
    stages = sorted(path for path in artifacts.metrics.glob("*.json") if path.stem not in (EVAL, "headline"))
    return {f"{path.stem}/summary" if path.stem in (CAM, TRAIN) else path.stem: load_json(path) for path in stages}


def _measured(artifacts: Artifacts) -> list[Path]:
    folder = artifacts.metrics
    return sorted(path for path in (*folder.glob("*.json"), *folder.glob("*/*.csv")) if path.is_file())


def _points(values: Mapping[str, float], step: int) -> list[Metric]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in values.items() if math.isfinite(value)]


def _curve_of_file(artifacts: Artifacts, stage: str) -> list[Metric]:
    # Every column beside `step` is a curve, where none holds their names; an empty cell was not measured.
    path = artifacts.metrics_path(f"{stage}/curve.csv")
    if not path.is_file():
        return []
    points = []
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            with suppress(ValueError, TypeError, KeyError):
                step = int(row.pop("step"))
                cells = {row["curve"]: row["value"]} if "curve" in row else row
                values = {f"{stage}/{name}": float(cell) for name, cell in cells.items() if cell}
                points += _points(values, step)
    return points


def _model_digest(artifacts: Artifacts) -> str | None:
    path = artifacts.segmenter_folder / "model.safetensors"
    return sha256_of(path) if path.is_file() else None
