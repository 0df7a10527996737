"""Files of DVC's own that a kill left torn are mended so that DVC can read them; whole ones are left alone."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA

from wildseg.core.errors import WildsegError
from wildseg.execution.repair import repair

LOCK = """\
schema: '2.0'
stages:
  extract:
    cmd: PYTHONPATH=src wildseg extract
    deps:
    - path: data/raw/field
      hash: md5
      md5: 6aefca303aaa04dc7f3d6b23b2ba9033.dir
      size: 13136475
      nfiles: 522
    params:
      params.yaml:
        extract:
          fps: 2.5
          held_out: [unseen]
          duplicate_bits: 4
    outs:
    - path: data/frames
      hash: md5
      md5: 0b5e1ac2a0f9e0e4e58e8a4bca7bb3cf.dir
      size: 4042173
      nfiles: 122
  label:
    cmd: PYTHONPATH=src wildseg label
    deps:
    - path: data/frames
      hash: md5
      md5: 0b5e1ac2a0f9e0e4e58e8a4bca7bb3cf.dir
      size: 4042173
      nfiles: 122
    outs:
    - path: data/labels/labels.csv
      hash: md5
      md5: 5d41402abc4b2a76b9719d911017c592
      size: 9021
"""
WHOLE = yaml.safe_load(LOCK)["stages"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    return tmp_path


def test_what_is_whole_is_left_alone(root: Path) -> None:
    (root / "dvc.lock").write_text(LOCK)
    (root / ".dvc/tmp/rwlock").write_text('{"read": {}, "write": {}}')
    assert repair(root) == []
    assert (root / "dvc.lock").read_text() == LOCK
    assert (root / ".dvc/tmp/rwlock").is_file()


@pytest.mark.parametrize("torn", ["", '{"read": {"/a": [{"pid": 1'])
def test_a_torn_rwlock_is_removed(root: Path, torn: str) -> None:
    path = root / ".dvc/tmp/rwlock"
    path.write_text(torn)
    assert repair(root) == [f"{path}: incomplete, removed"]
    assert not path.exists()


def test_lines_of_a_process_that_was_killed_and_never_waited_for_are_removed(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as zombie:  # it has ended, and nobody has asked how
        while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        dead, alive = ({"pid": number, "cmd": "dvc repro"} for number in (zombie.pid, os.getpid()))
        path = root / ".dvc" / "tmp" / "rwlock"
        path.write_text(json.dumps({"write": {"a": dead, "b": alive}, "read": {"c": [dead, alive], "d": [dead]}}))
        assert repair(root) == [f"{path}: entries of killed processes are removed"]
        assert json.loads(path.read_text()) == {"write": {"b": alive}, "read": {"c": [alive]}}
        assert repair(root) == []


def test_a_lock_file_cut_anywhere_becomes_one_that_dvc_reads_and_no_whole_stage_is_lost(root: Path) -> None:
    path = root / "dvc.lock"
    second = LOCK.index("  label:")
    mended: dict[str, dict] = {}  # its stages: many cuts leave the same
    for length in range(len(LOCK)):
        path.write_text(LOCK[:length])
        said = repair(root)
        if not path.exists():
            assert length < second
            assert "removed" in said[0]
            continue
        if (text := path.read_text()) not in mended:
            mended[text] = COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text))["stages"]
            assert repair(root) == []
        if length >= second:
            assert mended[text]["extract"] == WHOLE["extract"]


def test_half_a_value_is_never_taken_for_a_whole_one(root: Path) -> None:
    (root / "dvc.lock").write_text(LOCK[:-2])  # size: 90 for 9021
    (line,) = repair(root)
    assert line.endswith("incomplete, cut back to 1 complete stages; the former file is dvc.lock.torn")
    assert (root / "dvc.lock.torn").read_text() == LOCK[:-2]
    assert yaml.safe_load((root / "dvc.lock").read_text())["stages"] == {"extract": WHOLE["extract"]}


def test_the_lock_file_of_a_pipeline_in_a_folder_is_mended_too(root: Path) -> None:
    path = root / "models" / "tiny_clip" / "dvc.lock"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"schema: '2.0'\nstages:\n  a\xff")
    assert repair(root) == [
        f"{path}: incomplete before its first complete stage, removed; the former file is dvc.lock.torn"
    ]
    assert not path.exists()


def test_data_sets_without_any_stage_are_no_torn_file(root: Path) -> None:
    text = "schema: '2.0'\ndatasets:\n- name: field\n  type: dvc\n  url: somewhere\n  lock: {rev_lock: abc}\n"
    (root / "dvc.lock").write_text(text)
    assert repair(root) == []
    assert (root / "dvc.lock").read_text() == text


def test_both_sides_of_a_merge_are_for_a_person_to_choose_from(root: Path) -> None:
    text = LOCK.replace("      size: 13136475\n", "<<<<<<< HEAD\n      size: 1\n=======\n>>>>>>> other\n")
    (root / "dvc.lock").write_text(text)
    with pytest.raises(WildsegError, match="it holds both sides of a merge"):
        repair(root)
    assert (root / "dvc.lock").read_text() == text


def test_the_locks_that_dvc_takes_on_network_storage_are_respected(root: Path) -> None:
    from dvc.lock import make_lock

    temporary = root / ".dvc" / "tmp"
    (root / ".dvc" / "config").write_text("[core]\n    hardlink_lock = true\n")
    (temporary / "rwlock").write_text("")
    held = make_lock(str(temporary / "lock"), tmp_dir=str(temporary), hardlink_lock=True)
    with held, pytest.raises(WildsegError, match="a DVC command is running here"):
        repair(root)
    assert (temporary / "rwlock").exists()
    assert len(repair(root)) == 1
    with held:  # and they are given back
        pass


@pytest.mark.parametrize("name", ["lock", "rwlock.lock"])
def test_nothing_is_touched_while_dvc_is_at_work(root: Path, name: str) -> None:
    (root / ".dvc/tmp/rwlock").write_text("")
    with (root / ".dvc/tmp" / name).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(WildsegError, match="a DVC command is running here"):
            repair(root)
    assert (root / ".dvc/tmp/rwlock").exists()


def test_a_folder_without_dvc_is_told(tmp_path: Path) -> None:
    with pytest.raises(WildsegError, match="expected a project of DVC"):
        repair(tmp_path)
