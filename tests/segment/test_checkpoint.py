import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.segment.networks import batches, tiny
from wildseg.segment.checkpoint import Checkpoints, key_of
from wildseg.segment.loop import Recipe, Trainer

RECIPE = Recipe(
    steps=6, lr=0.01, weight_decay=0.01, precision="fp32", validate_every=2, ids=(1, 2, 3), seed=0
)  # fmt: skip


def trained(steps: int) -> Trainer:
    trainer = Trainer(tiny(), RECIPE)
    for event in trainer.run(batches, lambda: 0.1 * trainer.step):
        if event.step == steps:
            break
    return trainer


def test_a_trainer_comes_back_from_disk_to_the_bit(tmp_path: Path) -> None:
    stopped, whole = trained(3), trained(6)
    Checkpoints(tmp_path, "key").save(stopped)
    restored = Trainer(tiny(seed=9), RECIPE)
    assert Checkpoints(tmp_path, "key").restore(restored)
    assert restored.step == 3
    list(restored.run(batches, lambda: 0.1 * restored.step))
    assert restored.history == whole.history
    assert all(torch.equal(value, whole.weights()[name]) for name, value in restored.weights().items())


def test_a_checkpoint_is_tensors_and_json_and_nothing_that_can_run(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(trained(2))
    with safe_open(checkpoints.path, "pt") as file:
        assert json.loads(file.metadata()["values"])["step"] == 2
    assert list(checkpoints.path.parent.iterdir()) == [checkpoints.path]


def test_another_key_is_another_run(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "one").save(trained(2))
    fresh = Trainer(tiny(), RECIPE)
    assert not Checkpoints(tmp_path, "two").restore(fresh)
    assert fresh.step == 0


def test_a_broken_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(trained(2))
    whole = checkpoints.path.read_bytes()
    checkpoints.path.write_bytes(whole[: len(whole) // 2])
    fresh = Trainer(tiny(), RECIPE)
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
    restored = Trainer(tiny(), RECIPE)
    assert checkpoints.restore(restored)
    assert restored.step == 2
    assert list(checkpoints.path.parent.iterdir()) == [checkpoints.path]


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


def test_the_key_tells_files_and_values_apart() -> None:
    first, second = ("a.png", b"1"), ("b.png", b"2")
    keys = [key_of([first, second], 1), key_of([second, first], 1), key_of([first, second], 2), key_of([first], 1)]
    assert key_of([first, second], 1) == keys[0]
    keys += [key_of([first, ("b.png", b"3")], 1), key_of([first, ("c.png", b"2")], 1)]
    assert len(set(keys)) == 6
