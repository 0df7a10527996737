"""Cached results depend on phrases and not on names of classes, so that a renamed class is found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stages import tiny_run
from wildseg.artifacts.prompts import PromptSet
from wildseg.cli.classes import arrays, change
from wildseg.core.classes import Classes
from wildseg.core.files import load_json
from wildseg.labels.interface import LabelResult
from wildseg.stages.eval.task import PredictTask
from wildseg.stages.tasks import label

OLD = {"lawn": ["lawn", "grass"], "road": ["road"], "sky": ["sky"]}
NEW = {"meadow": ["lawn", "grass"], "road": ["road"], "sky": ["sky"]}


def label_task(root: Path, classes: dict[str, list[str]]) -> label.LabelTask:
    values = tiny_run.params()
    clip = replace(values.clip, pretrained="a_tag")
    return label.LabelTask(root, Classes(classes), clip, values.label, PromptSet(("a {}.",), ()))


def test_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = label_task(tmp_path, OLD), label_task(tmp_path, NEW)
    assert old.depends_on() == new.depends_on()
    assert old.depends_on() != label_task(tmp_path, {**OLD, "sky": ["heaven"]}).depends_on()
    seen: list[Any] = []

    def label_frames(_: Path, frames: list[str], request: Any, __: object) -> Any:  # noqa: ANN401
        seen.append(request)
        return [LabelResult(np.zeros(3), 0.5) for _ in frames]

    monkeypatch.setattr(label, "label_frames", label_frames)
    for task in (old, new):
        task.compute("a_000001")
    first, second = seen
    assert first.class_names == second.class_names  # what a method could read
    assert first.phrases == (("lawn", "grass"), ("road",), ("sky",))


def test_predictions(tmp_path: Path) -> None:
    artifacts = tiny_run.make(tmp_path)
    settings = tiny_run.params().eval
    old = PredictTask(tmp_path, tuple(OLD), settings, tmp_path)
    before = old.depends_on()
    arrays.rename_models(artifacts, artifacts, change.rename(OLD, "lawn", "meadow"))
    assert artifacts.load_segmenter_config()["classes"] == list(NEW)
    assert PredictTask(tmp_path, tuple(NEW), settings, tmp_path).depends_on() == before
    tiny_run.save_segmenter(artifacts, tiny_run.network(always=tiny_run.ROAD))
    assert PredictTask(tmp_path, tuple(OLD), settings, tmp_path).depends_on() != before


def test_the_network_of_a_trained_cam_method_has_the_new_names(tmp_path: Path) -> None:
    artifacts = tiny_run.Artifacts(tmp_path)
    described = {"method": "classifier", "network": {"class_names": list(OLD), "steps": 3, "options": {"name": "lawn"}}}
    artifacts.save_map_network_config(described)
    arrays.rename_models(artifacts, artifacts, change.rename(OLD, "lawn", "meadow"))
    found = load_json(artifacts.map_network_folder / "config.json")
    assert found == {**described, "network": {**described["network"], "class_names": list(NEW)}}  # type: ignore[dict-item]
    artifacts.save_map_network_config({"method": "gradcam", "network": None})
    arrays.rename_models(artifacts, artifacts, change.rename(OLD, "lawn", "meadow"))
    assert load_json(artifacts.map_network_folder / "config.json")["network"] is None
