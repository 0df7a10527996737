"""Losses, class weights and the teacher through the stage: each trains, and what is not chosen decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stages.test_train import CPU, SETTINGS, make, outputs, values
from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.errors import ParamsError
from wildseg.core.tables import load_table
from wildseg.stages.train import stage as train
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.trainer import Trainer

WEIGHTS = "models/segmenter/model.safetensors"
TEACHER = {"teacher": "mean_teacher", "mean_teacher": {"decay": 0.9, "weight": 5.0, "min_confidence": 0, "ramp_up": 0}}


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    """Six frames whose masks leave every third column open, and in the first frame a class."""
    artifacts = make(tmp_path)
    for frame in artifacts.load_frames():
        mask = artifacts.load_mask(frame.name)
        mask[:, ::3] = 255
        if frame.index == 0:
            mask[mask == 1] = 255  # else all classes are equally frequent, and have equal weights
        artifacts.save_mask(frame.name, mask)
    return artifacts


def options(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {**SETTINGS["options"], **more}


def test_every_loss_and_every_class_weight_trains_to_weights_of_its_own(project: Artifacts) -> None:
    losses = [{"loss": name} for name in lookup.available("methods.losses")]
    others = [{"class_weights": "none"}, {"class_weights": "class_balanced", "class_balanced_beta": 0.99}, TEACHER]
    others += [{"encoder_lr": 0.1}, {"loss": "dice", "options": options(dice={"cross_entropy": 1.0})}]
    found = set()
    for changes in (*losses, *others):
        train.run(values(steps=3, **changes), project, CPU)
        found.add(outputs(project)[WEIGHTS])
    assert len(found) == len(losses) + len(others)


def test_what_is_not_chosen_decides_nothing_and_what_is_does(
    project: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", str(tmp_path / "cache"))
    taken: list[int] = []
    take = Trainer._take_step
    monkeypatch.setattr(Trainer, "_take_step", lambda self, *rest: taken.append(self.step) or take(self, *rest))

    def steps_of(**changes: Any) -> int:  # noqa: ANN401
        before = len(taken)
        train.run(values(steps=2, **changes), project, CPU)
        return len(taken) - before

    assert steps_of() == 2
    assert steps_of(options=options(dice={"cross_entropy": 2.0})) == 0
    assert steps_of(class_balanced_beta=0.5, round_confidence=0.1) == 0
    assert steps_of(mean_teacher={**TEACHER["mean_teacher"], "decay": 0.1}) == 0
    assert steps_of(loss="generalised_cross_entropy") == 2
    assert steps_of(loss="generalised_cross_entropy", options=options(generalised_cross_entropy={"q": 0.7})) == 0
    assert steps_of(loss="generalised_cross_entropy", options=options(generalised_cross_entropy={"q": 0.6})) == 2
    assert steps_of(class_weights="class_balanced") == 2
    assert steps_of(class_weights="class_balanced", class_balanced_beta=0.5) == 2
    assert steps_of(**TEACHER) == 2


class _Killed(BaseException):
    pass


def test_a_training_with_a_teacher_that_was_stopped_ends_with_the_same_bytes(
    project: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.run(values(**TEACHER), project, CPU)
    whole = outputs(project)
    rows = load_table(project.metrics_path("train/curve.csv"), ("step", "loss", "consistency", "cross_entropy"))
    assert all(float(row["consistency"]) > 0 for row in rows)
    measured = [row for row in rows if row["val_miou"]]
    for row in measured:
        assert float(row["val_miou"]) == max(float(row["val_miou_student"]), float(row["val_miou_teacher"]))

    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, trainer: Trainer) -> None:
        save(self, trainer)
        raise _Killed

    monkeypatch.setattr(Checkpoints, "save", save_and_stop)
    with pytest.raises(_Killed):
        train.run(values(**TEACHER), project, CPU)
    monkeypatch.setattr(Checkpoints, "save", save)
    train.run(values(**TEACHER), project, CPU)
    assert outputs(project) == whole
    state, _ = project.load_segmenter()
    assert not [name for name in state if name.startswith(("network.", "teacher", "steps"))]
    assert all(np.isfinite(tensor.numpy()).all() for tensor in state.values())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"teacher": "mean"}, r"train\.teacher: expected .*mean_teacher.* or null; found 'mean'"),
        ({"class_weights": "balanced"}, r"train\.class_weights: expected one of none, sqrt_inverse, class_balanced"),
        ({"class_balanced_beta": 1}, r"train\.class_balanced_beta: expected a number from 0 to 0\.999999999, found 1"),
        ({"rounds": 0}, r"train\.rounds: expected a whole number from 1 to 100, found 0"),
        (
            {"options": {"dice": {"q": 1}}},
            r"train\.options\.dice\.q: dice has no such option; it accepts cross_entropy",
        ),
        ({"options": {"dise": {}}}, r"train\.options: expected one of .*unet.*; found 'dise'; did you mean 'dice'"),
        (
            {"options": {"generalised_cross_entropy": {"q": 2}}},
            r"cross_entropy\.q: expected a number from 0\.01 to 1, f",
        ),
        ({"encoder_lr": -1}, r"train\.encoder_lr: expected a number from 0 to 1000, found -1"),
        ({"freeze_norms": True}, r"train\.freeze_norms: expected false where train\.encoder_weights is null: the norm"),
        ({"architecture": "san", "encoder_lr": 0.1}, r"train\.encoder_lr: expected 1\.0 with san, whose encoder is n"),
    ],
)
def test_a_mistake_is_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        values(**changes)
