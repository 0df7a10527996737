import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from tests.segment.networks import batches, segmenter_trainer, tiny
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.trainer import Trainer


def begun(seed: int = 0) -> Trainer:
    trainer = segmenter_trainer(tiny(seed=seed), lambda: 0.1 * trainer.step, steps=6, validate_every=2)
    return trainer


def trained(steps: int) -> Trainer:
    trainer = begun()
    for event in trainer.run(batches):
        if event.step == steps:
            break
    return trainer


def test_a_trainer_comes_back_from_disk_to_the_bit(tmp_path: Path) -> None:
    stopped, whole = trained(3), trained(6)
    Checkpoints(tmp_path, "key").save(stopped)
    restored = begun(seed=9)
    assert Checkpoints(tmp_path, "key").restore(restored)
    assert restored.step == 3
    list(restored.run(batches))
    assert restored.history == whole.history
    assert all(
        torch.equal(value, whole.weights("segmenter")[name]) for name, value in restored.weights("segmenter").items()
    )


def test_a_checkpoint_is_tensors_and_json_and_nothing_that_can_run(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(trained(2))
    with safe_open(checkpoints.path, "pt") as file:
        assert json.loads(file.metadata()["values"])["step"] == 2
    assert list(checkpoints.path.parent.iterdir()) == [checkpoints.path]


def test_another_key_is_another_run(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "one").save(trained(2))
    fresh = begun()
    assert not Checkpoints(tmp_path, "two").restore(fresh)
    assert fresh.step == 0


def test_a_broken_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(trained(2))
    whole = checkpoints.path.read_bytes()
    checkpoints.path.write_bytes(whole[: len(whole) // 2])
    fresh = begun()
    assert not checkpoints.restore(fresh)
    assert fresh.step == 0


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(trained(2))

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(trained(4))
    restored = begun()
    assert checkpoints.restore(restored)
    assert restored.step == 2
    assert list(checkpoints.path.parent.iterdir()) == [checkpoints.path]


def rewritten(path: Path, values: dict[str, Any] | None = None, tensors: dict[str, torch.Tensor] | None = None) -> None:
    """Change some values of a checkpoint, or some of its tensors; a tensor of None goes."""
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kept = json.loads(file.metadata()["values"])
    state |= tensors or {}
    path.write_bytes(save(state, metadata={"values": json.dumps({**kept, **(values or {})})}))


EVENT = {"step": 2, "lr": 0.01, "loss": 1.0, "terms": {}, "metrics": {"val_miou": 0.5}}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"step": -1}, "expected a step from 0 to 6, found '-1'"),
        ({"step": "x"}, "expected a step from 0 to 6, found 'x'"),
        ({"step": 10**12}, "expected a step from 0 to 6, found '1000000000000'"),
        ({"step": 7}, "expected a step from 0 to 6, found '7'"),
        ({"step": float("nan")}, "expected a step from 0 to 6, found 'nan'"),
        ({"step": 2.0}, "expected a step from 0 to 6, found '2.0'"),
        ({"step": True}, "expected a step from 0 to 6, found 'True'"),
        ({"step": None}, "expected a step from 0 to 6, found 'None'"),
        ({"step": [2]}, "expected a step from 0 to 6"),
        ({"step": 6}, "it is of the last step, and its history does not reach there"),
        ({"loss_count": -1}, "expected the sum of at most 4 losses"),
        ({"loss_count": 5}, "expected the sum of at most 4 losses"),
        ({"best": [0.5]}, "expected the best metric and its step"),
        ({"best": ["high", 2]}, "expected the best metric and its step"),
        ({"best": [0.5, 5]}, "expected the best metric and its step"),
        ({"history": "none"}, "its history contains an entry that is not an event"),
        ({"history": [{**EVENT, "step": 5}]}, "its history contains an entry that is not an event"),
        ({"history": [{**EVENT, "loss": float("inf")}]}, "its history contains an entry that is not an event"),
        ({"history": [{**EVENT, "terms": 3}]}, "its history contains an entry that is not an event"),
        ({"history": [{**EVENT, "metrics": {"val_miou": "high"}}]}, "its history contains an entry that is not an"),
        ({"history": [{"step": 2}]}, "its history contains an entry that is not an event"),
        ({"scaler": 7}, ""),
    ],
    ids=str,
)
def test_a_checkpoint_that_cannot_be_is_told_and_the_training_begins_anew(
    values: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(trained(4))
    rewritten(checkpoints.path, values)
    begins_anew(checkpoints, reason, values == {"scaler": 7})


@pytest.mark.parametrize(
    "name",
    ["network/segmenter/{}", "best/segmenter/{}", "sum/cross_entropy", "optimizer/0/exp_avg"],
    ids=["network", "best", "loss", "optimizer"],
)
def test_tensors_of_another_shape_are_told_and_nothing_of_them_stays(name: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(trained(4))
    rewritten(checkpoints.path, tensors={name.format(next(iter(tiny().state_dict()))): torch.zeros(7, 7)})
    begins_anew(checkpoints, "")


def begins_anew(checkpoints: Checkpoints, reason: str, harmless: bool = False) -> None:
    fresh = begun()
    if checkpoints.restore(fresh):
        assert harmless
        return
    assert checkpoints.unusable is not None
    assert checkpoints.unusable.startswith(f"{checkpoints.path} is no checkpoint of this training ({reason}")
    assert "\n" not in checkpoints.unusable
    assert fresh.step == 0
    whole = trained(6)
    list(fresh.run(batches))
    assert fresh.history == whole.history
    assert all(
        torch.equal(value, whole.weights("segmenter")[name]) for name, value in fresh.weights("segmenter").items()
    )


def test_where_there_is_no_checkpoint_nothing_is_told(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    assert not checkpoints.restore(begun())
    assert checkpoints.unusable is None


@pytest.mark.parametrize("stands_in_the_way", ["write_bytes", "replace"])
def test_a_full_disk_names_the_checkpoint(
    stands_in_the_way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, stands_in_the_way, full)
    checkpoints = Checkpoints(tmp_path, "key")
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoints.save(trained(1))
    assert caught.value.filename == str(checkpoints.path)


def test_a_finished_run_leaves_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(trained(1))
    checkpoints.remove()
    assert not list(tmp_path.iterdir())


def test_the_oldest_of_many_stopped_runs_are_removed(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "middle", "old", "oldest")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    Checkpoints(tmp_path, "old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["middle", "new", "old"]
