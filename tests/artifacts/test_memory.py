"""The bank on disk: the same content is the same bytes, and what cannot be used is one line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from wildseg.artifacts.memory import REGIONS, AboutBank, MemoryFiles, most_regions
from wildseg.cam.memory import Bank, Origin
from wildseg.core.arrays import MAX_ARRAY, array_names, load_arrays
from wildseg.core.errors import DataError

ABOUT = AboutBank({"clusters": 24, "encoder": None}, {"a": "0a", "b": "0b"})


def bank() -> Bank:
    rng = np.random.default_rng(0)
    keys, values = rng.normal(size=(5, 3)).astype(np.float16), rng.normal(size=(5, 2)).astype(np.float16)
    frames = (Origin("a", "drive", 0.25), Origin("b", "photos", None))
    return Bank(keys, values, np.linspace(0.1, 0.5, 5, dtype=np.float32), np.array([0, 0, 1, 1, 1], np.int32), frames)


@pytest.fixture
def files(tmp_path: Path) -> MemoryFiles:
    found = MemoryFiles(tmp_path)
    found.save_bank(bank(), ABOUT)
    return found


def test_what_was_saved_is_read(files: MemoryFiles) -> None:
    found = files.load_bank()
    for name in ("keys", "values", "areas", "owners"):
        np.testing.assert_array_equal(getattr(found, name), getattr(bank(), name))
        assert getattr(found, name).dtype == getattr(bank(), name).dtype
    assert found.frames == bank().frames
    assert files.load_about_bank() == ABOUT


def test_the_digest_is_that_of_the_file_and_the_same_content_has_the_same_bytes(files: MemoryFiles) -> None:
    before = files.bank_npz.read_bytes()
    assert files.bank_digest() == sha256(before).hexdigest()
    files.save_bank(bank(), AboutBank(dict(reversed(ABOUT.made_by.items())), ABOUT.digests))
    assert files.bank_npz.read_bytes() == before


def changed(files: MemoryFiles, **arrays: np.ndarray) -> None:
    names = array_names(files.bank_npz)
    known = dict(zip(names, load_arrays(files.bank_npz, *names), strict=True))
    np.savez(files.bank_npz, **{**known, **arrays})


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"keys": np.zeros((4, 3), np.float16)}, "vectors of another shape or type"),
        ({"values": np.zeros((5, 2), np.float32)}, "vectors of another shape or type"),
        ({"owners": np.array([0, 0, 1, 1, 2], np.int32)}, "regions of frames that it does not name"),
        ({"owners": np.array([0, 0, -1, 1, 1], np.int32)}, "regions of frames that it does not name"),
        ({"areas": np.zeros((5, 1), np.float32)}, "vectors of another shape or type"),
        ({"owners": np.zeros(4, np.int32)}, "areas or frames of another shape or type"),
        ({"keys": np.full((5, 3), np.nan, np.float16)}, "numbers that are not finite"),
        ({"about": np.frombuffer(b'{"format": 2}', np.uint8)}, "the format 2"),
        ({"about": np.frombuffer(b"[]", np.uint8)}, "expected a bank of regions"),
        ({"about": np.frombuffer(b'{"format": 1, "made_by": {}, "frames": [["a"]]}', np.uint8)}, "not enough values"),
    ],
)
def test_a_bank_that_does_not_fit_together_is_one_line(files: MemoryFiles, arrays: dict, what: str) -> None:
    changed(files, **arrays)
    with pytest.raises(DataError, match=re.escape(what)) as error:
        files.load_bank()
    assert str(files.bank_npz) in str(error.value)
    assert "'wildseg memory --rebuild' makes a new one" in str(error.value)


@pytest.mark.parametrize(
    "write", [lambda path: path.write_bytes(b"no archive"), lambda path: path.write_bytes(path.read_bytes()[:400])]
)
def test_a_broken_file_is_one_line(files: MemoryFiles, write: Callable[[Path], object]) -> None:
    write(files.bank_npz)
    with pytest.raises(DataError, match="bank.npz: expected the arrays about"):
        files.load_bank()


def test_a_missing_bank_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a bank of regions, which 'wildseg memory' builds"):
        MemoryFiles(tmp_path).bank_digest()


def test_a_bank_without_regions_can_be_saved_and_read(files: MemoryFiles) -> None:
    empty = replace(
        bank(), keys=np.zeros((0, 3)), values=np.zeros((0, 2)), areas=np.zeros(0), owners=np.zeros(0, np.int32)
    )
    files.save_bank(empty, ABOUT)
    assert len(files.load_bank()) == 0


def test_a_bank_holds_what_can_be_read_again() -> None:
    assert most_regions(768, 512) == REGIONS
    assert 2 * 4096 * most_regions(4096, 512) <= MAX_ARRAY


def test_the_digest_of_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    files = MemoryFiles(tmp_path)
    files.bank_npz.parent.mkdir(parents=True)
    os.mkfifo(files.bank_npz)
    with pytest.raises(DataError, match="a named pipe"):
        files.bank_digest()
