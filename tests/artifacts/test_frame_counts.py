from pathlib import Path

import numpy as np
import pytest

from wildseg.artifacts.frame_counts import FrameCountsFile
from wildseg.core.errors import DataError
from wildseg.metrics.frame_counts import HELD_OUT, LEVELS, SEEN, FrameCounts

NAMES = ("lawn", 'a "b", <c>')


def frames() -> list[FrameCounts]:
    noise = np.random.default_rng(0)
    return [
        FrameCounts(f"drive_{index:06d}", group, f"drive {index}", index % 2 == 1, {
            level: noise.integers(0, 3, (4, 2 if level == "labels" else 3)) for level in LEVELS
        })
        for index, group in enumerate((SEEN, HELD_OUT, SEEN))
    ]  # fmt: skip


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = FrameCountsFile(tmp_path)
    file.save_counts(NAMES, frames())
    found = file.load_counts(NAMES)
    for one, other in zip(frames(), found, strict=True):
        assert (one.frame, one.group, one.stretch, one.tested) == (
            other.frame,
            other.group,
            other.stretch,
            other.tested,
        )
        for level in LEVELS:
            np.testing.assert_array_equal(one.levels[level], other.levels[level])


def test_no_frame_is_an_empty_table(tmp_path: Path) -> None:
    file = FrameCountsFile(tmp_path)
    file.save_counts(NAMES, [])
    assert file.load_counts(NAMES) == []


@pytest.mark.parametrize(
    "row",
    ["f,seen,s 0,1,maps,water,1,2,3,0", "f,seen,s 0,1,labels,background,1,2,3,0", "f,elsewhere,s 0,1,maps,lawn,1,2,3,0",
     "f,seen,s 0,1,maps,lawn,-1,2,3,0", "f,seen,s 0,1,maps,lawn,x,2,3,0", f"f,seen,s 0,1,maps,lawn,{10**30},2,3,0",
     "f,seen,s 0,7,maps,lawn,1,2,3,0", "f,seen,s 0,1,roof,lawn,1,2,3,0"],
)  # fmt: skip
def test_a_row_that_means_nothing_is_one_line(tmp_path: Path, row: str) -> None:
    file = FrameCountsFile(tmp_path)
    file.save_counts(NAMES, [])
    file.counts_csv.write_text(file.counts_csv.read_text() + row + "\n")
    with pytest.raises(DataError, match=r"counts\.csv: expected .* run 'dvc repro eval'"):
        file.load_counts(NAMES)
