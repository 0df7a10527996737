"""Rounds of self-training: each learns the confident predictions of the one before, and none is trained twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.programs import wildseg
from tests.stages.test_train import CPU, content, make, outputs, values
from tests.stages.test_train_together import VARIABLES
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError
from wildseg.core.files import load_json
from wildseg.core.tables import load_table
from wildseg.methods.architectures import unet
from wildseg.segment import predict
from wildseg.stages.train import stage as train
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.trainer import Trainer

NAMES = ["red", "green", "blue"]
FRAMES = [f"drive_{index:06d}" for index in range(6)]
TRAINED = FRAMES[:3]  # the fourth has no labelled pixel
SETTINGS: dict[str, Any] = {"round_confidence": 0.35}  # little above chance: eight steps make nothing surer


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that were taken, of all trainings."""
    taken: list[int] = []
    take = Trainer._take_step
    monkeypatch.setattr(Trainer, "_take_step", lambda self, *rest: taken.append(self.step) or take(self, *rest))
    return taken


def labelled(root: Path, second: tuple[bool, bool, bool] = (True, True, True)) -> Artifacts:
    """The six frames with image labels; `second` are those of the second frame."""
    artifacts = make(root)
    present = np.ones((6, 3), bool)
    present[1] = second
    artifacts.save_labels(FRAMES, NAMES, present)
    return artifacts


def test_the_second_round_learns_what_the_first_ones_model_is_sure_of(tmp_path: Path) -> None:
    # By hand: a training, its predictions as masks, and another training from the first weights.
    single, again, whole = (labelled(tmp_path / name, (True, False, True)) for name in ("single", "again", "whole"))
    train.run(values(**SETTINGS), single, CPU)
    predictor = predict.load(unet.build, *single.load_segmenter())
    found = {frame: predictor.probabilities(single.load_image(frame)[None])[0].numpy() for frame in TRAINED}
    least = float(np.median([values[1:].max(0) for values in found.values()]))
    masks = {}
    for frame, probabilities in found.items():
        mask = np.full(probabilities.shape[1:], 255, np.uint8)
        for y, x in np.ndindex(*mask.shape):
            ids = [1, 3] if frame == FRAMES[1] else [1, 2, 3]
            best = max(ids, key=lambda id_, scores=probabilities[:, y, x]: scores[id_])
            if probabilities[best, y, x] >= least:
                mask[y, x] = best
        again.save_mask(frame, mask)
        masks[frame] = mask
    assert 0.3 < np.mean([mask != 255 for mask in masks.values()]) < 0.7

    train.run(values(**{**SETTINGS, "round_confidence": least}, rounds=2), whole, CPU)
    for frame in TRAINED:
        np.testing.assert_array_equal(whole.load_round_mask(2, frame), masks[frame])
    train.run(values(**SETTINGS), again, CPU)
    assert outputs_of_model(whole) == outputs_of_model(again)
    assert whole.rounds_of_masks() == [2]

    report, first, second = (load_json(one.metrics_path("train.json")) for one in (whole, single, again))
    each = report.pop("rounds")
    assert report == second
    assert each == {
        str(number): {name: one[name] for name in ("val_miou", "best_step")}
        for number, one in enumerate((first, second), 1)
    }
    assert check_curve(whole, first["val_miou"], second["val_miou"])


def outputs_of_model(artifacts: Artifacts) -> list[bytes]:
    return [(artifacts.segmenter_folder / name).read_bytes() for name in ("config.json", "model.safetensors")]


def check_curve(artifacts: Artifacts, *best: float) -> bool:
    """Steps go on from round to round, and the last of each has its mIoU."""
    rows = load_table(artifacts.metrics_path("train/curve.csv"), ("step", "loss", "lr", "val_miou", "round_val_miou"))
    assert [int(row["step"]) for row in rows] == list(range(1, 17))
    ends = {int(row["step"]): float(row["round_val_miou"]) for row in rows if row["round_val_miou"]}
    return ends == pytest.approx({8: best[0], 16: best[1]}, abs=1e-6)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize(("kill", "goes_on"), [(2, "step 8 of 8 of round 1"), (3, "step 3 of 8 of round 2")])
def test_a_run_that_was_killed_in_its_second_round_goes_on_there_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kill: int, goes_on: str
) -> None:
    whole, killed = labelled(tmp_path / "whole"), labelled(tmp_path / "killed")
    train.run(values(**SETTINGS, rounds=2), whole, CPU)
    save, saved = Checkpoints.save, 0

    def save_and_stop(self: Checkpoints, trainer: Trainer) -> None:
        nonlocal saved
        save(self, trainer)
        saved += 1
        if saved > kill:  # saved at steps 3, 6 and 8 of the first round, then at step 3 of the second
            raise _Killed

    monkeypatch.setattr(Checkpoints, "save", save_and_stop)
    with pytest.raises(_Killed):
        train.run(values(**SETTINGS, rounds=2), killed, CPU)
    monkeypatch.setattr(Checkpoints, "save", save)
    assert not (killed.segmenter_folder / "config.json").exists()
    capsys.readouterr()
    train.run(values(**SETTINGS, rounds=2), killed, CPU)
    assert f"train: goes on from {goes_on}" in capsys.readouterr().out
    assert outputs_with_rounds(killed) == outputs_with_rounds(whole)
    assert not list((killed.root / ".wildseg" / "train").iterdir())


def outputs_with_rounds(artifacts: Artifacts) -> dict[str, bytes]:
    folders = (artifacts.segmenter_folder, artifacts.metrics)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(artifacts.root)): path.read_bytes() for path in files}


def test_no_round_is_trained_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", str(tmp_path / "cache"))
    project = labelled(tmp_path / "project")
    train.run(values(**SETTINGS), project, CPU)
    single = outputs(project)
    assert len(steps) == 8
    train.run(values(**SETTINGS, rounds=2), project, CPU)
    assert len(steps) == 16  # the first round was there
    double = outputs_with_rounds(project)
    train.run(values(**SETTINGS, rounds=2), project, CPU)
    train.run(values(**SETTINGS), project, CPU)
    assert len(steps) == 16
    assert outputs(project) == single
    train.run(values(**SETTINGS, rounds=2), project, CPU)
    assert len(steps) == 16
    assert outputs_with_rounds(project) == double
    project.save_labels(FRAMES, NAMES, np.ones((6, 3), bool) & [True, True, False])
    train.run(values(**SETTINGS, rounds=2), project, CPU)
    assert len(steps) == 24  # labels decide the second round alone


def test_a_model_that_is_sure_of_nothing_and_a_missing_label_are_one_line(tmp_path: Path) -> None:
    project = labelled(tmp_path)
    with pytest.raises(DataError, match=r"found none in 3 frames of the split train; lower train.round_confidence"):
        train.run(values(**{**SETTINGS, "round_confidence": 1.0}, rounds=2), project, CPU)
    project.save_labels(FRAMES[1:], NAMES, np.ones((5, 3), bool))
    with pytest.raises(DataError, match=r"expected a line for the frame 'drive_000000', found none; run 'dvc repro la"):
        train.run(values(**SETTINGS, rounds=2), project, CPU)


def test_two_processes_share_the_frames_of_a_round_and_leave_what_one_leaves(tmp_path: Path) -> None:
    settings = {**SETTINGS, "steps": 3, "rounds": 2}
    alone, pair = labelled(tmp_path / "alone"), labelled(tmp_path / "pair")
    train.run(values(**settings), alone, CPU)
    (pair.root / "params.yaml").write_text(yaml.safe_dump(content(**settings), sort_keys=False), encoding="utf-8")
    answer = wildseg("train", cwd=pair.root, **VARIABLES, WILDSEG_CACHE="off")
    assert answer.code == 0, answer
    assert answer.output.count("train: round 1 of 2: 3 frames") == 1, answer
    assert outputs_with_rounds(pair).keys() == outputs_with_rounds(alone).keys()
    masks = [np.stack([one.load_round_mask(2, frame) for frame in TRAINED]) for one in (pair, alone)]
    assert (masks[0] == masks[1]).mean() > 0.95  # three steps differ by rounding
