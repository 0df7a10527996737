"""What runs leave: locks, half trainings, temporary files; space on the disk; runs of MLflow."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import pytest

from tests.stages import tiny_run
from wildseg.cli.doctor import disk, tracking, unfinished
from wildseg.execution import project_lock, result_store
from wildseg.execution.result_store import Entry, ResultStore

DEAD = 2**22 + 7  # above the largest number of a process


def texts(root: Path) -> list[str]:
    return [str(one) for one in unfinished.check(root)]


def test_nothing_is_left_in_a_new_folder(tmp_path: Path) -> None:
    assert texts(tmp_path) == []


def test_who_holds_the_lock_is_named_and_is_not_disturbed(tmp_path: Path) -> None:
    with project_lock.held(tmp_path, "cam"):
        (line,) = texts(tmp_path)
        assert line.startswith("stop  'wildseg")
        assert f"(process {os.getpid()}, by hand, since" in line
        assert project_lock.holder(tmp_path) is not None  # still
    assert texts(tmp_path) == []


def test_a_process_of_dvc_that_works_and_one_that_was_killed(tmp_path: Path) -> None:
    table = tmp_path / ".dvc/tmp/rwlock"
    table.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        entries = {"a": {"pid": process.pid, "cmd": "/usr/bin/dvc repro"}, "b": {"pid": DEAD, "cmd": "dvc repro"}}
        table.write_text(json.dumps({"write": entries, "read": {}}))
        assert texts(tmp_path) == [
            f"stop  'dvc repro' is at work on this project (process {process.pid}); wait until it ends"
        ]
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has waited for it
        assert texts(tmp_path) == [f"stop  DVC waits for a process that was killed ({process.pid}); wildseg repair"]
    assert texts(tmp_path) == []
    table.write_text('{"write": {')
    assert texts(tmp_path) == ["stop  rwlock of DVC is incomplete, as after a kill; wildseg repair"]


def test_a_half_training_and_temporary_files(tmp_path: Path) -> None:
    left = [".wildseg/train/0f0f/state.safetensors", f"data/masks/.a_000001.{DEAD}.png", f"metrics/.eval.{DEAD}.json"]
    others = [".wildseg/cache/train/state.safetensors.x", f"data/masks/.a_000002.{os.getpid()}.png", "data/.gitignore"]
    for name in [*left, *others]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    training, temporary = texts(tmp_path)
    assert "a training was interrupted: .wildseg/train/0f0f/state.safetensors (5 B, 0 seconds ago)" in training
    assert "killed processes left 2 temporary files (10 B)" in temporary


# Disk ----------------------------------------------------------------------------------------------------------------


def test_the_estimate_is_three_copies_of_what_frames_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(result_store.VARIABLE, str(tmp_path / "store"))
    artifacts = tiny_run.make(tmp_path)
    (plain,) = disk.check(artifacts)
    bytes_of = sum(
        path.stat().st_size for name in disk.OUTPUTS for path in (tmp_path / name).rglob("*") if path.is_file()
    )
    estimate = disk.estimate_of(artifacts, None)
    assert estimate == disk.Estimate(3 * bytes_of, 4, bytes_of // 4)
    assert plain.level == "ok"
    for number in range(2):
        ResultStore(tmp_path / "store/crf").put(f"{number:064x}", Entry(None, {"mask": bytes(100_000)}))
    entry = next((tmp_path / "store/crf").glob("*/*")).stat().st_size
    larger = disk.estimate_of(artifacts, tmp_path / "store")
    assert larger is not None
    assert larger.total == 3 * max(bytes_of, 4 * entry)


def test_a_full_disk_prevents_a_run_and_a_small_one_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts, space = tiny_run.make(tmp_path), namedtuple("space", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: space(10))
    assert [one.level for one in disk.check(artifacts)] == ["stop", "note"]
    monkeypatch.setattr(disk, "LEAST", 0)
    assert [one.level for one in disk.check(artifacts)] == ["note"]


def test_without_frames_there_is_no_estimate(tmp_path: Path) -> None:
    (found,) = disk.check(tiny_run.Artifacts(tmp_path))
    assert "unknown until one has been made" in found.text


# MLflow --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two tables of MLflow that are read, with the columns that are read."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE runs (status TEXT, lifecycle_stage TEXT)")
        store.execute("CREATE TABLE experiments (name TEXT, artifact_location TEXT, lifecycle_stage TEXT)")
        store.executemany("INSERT INTO runs VALUES (?, 'active')", [("FINISHED",), ("RUNNING",), ("KILLED",)])
        store.execute("INSERT INTO experiments VALUES ('wildseg', ?, 'active')", [str(tmp_path / "mlartifacts")])
        store.commit()
    return path


def test_runs_that_nobody_ended_and_a_project_that_was_moved(database: Path, tmp_path: Path) -> None:
    there, running = tracking.check(tmp_path)
    assert (there.level, there.text) == ("ok", "MLflow: mlflow.db has 3 runs")
    assert "1 runs are marked as running" in running.text
    moved = tmp_path / "moved"
    moved.mkdir()
    database.rename(moved / "mlflow.db")
    *_, place = tracking.check(moved)
    assert "the project was moved" in place.text


def test_a_database_of_something_else_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert [one.level for one in tracking.check(tmp_path)] == ["ok"]
    (tmp_path / "mlflow.db").write_text("nothing of it")
    assert [one.level for one in tracking.check(tmp_path)] == ["note"]


def test_a_server_that_is_not_there_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9/path")
    (found,) = tracking.check(tmp_path)
    assert found.level == "note"
    assert "127.0.0.1:9 does not answer" in found.text
    assert "secret" not in str(found)
