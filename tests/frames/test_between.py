"""Frames between key frames: which, and that they are those that the video holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wildseg.frames.between import indices_between, read_between
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.reader import read
from wildseg.frames.sources import find_sources
from wildseg_demo.world.video import open_video


@pytest.mark.parametrize(
    ("first", "last", "number", "expected"),
    [
        (0, 10, 1, [5]),
        (0, 10, 4, [2, 4, 6, 8]),
        (4, 7, 5, [5, 6]),
        (4, 7, 1, [6]),
        (4, 5, 3, []),
        (4, 4, 3, []),
        (0, 10, 0, []),
    ],
)
def test_indices_are_spread_evenly(first: int, last: int, number: int, expected: list[int]) -> None:
    assert indices_between(first, last, number) == expected


def test_the_wanted_frames_are_those_of_the_video(tmp_path: Path) -> None:
    with open_video(tmp_path / "drive.mp4", (64, 48), 5) as append:
        for index in range(9):
            append(np.full((48, 64, 3), 20 * index, np.uint8))
    (source,) = find_sources(tmp_path / "drive.mp4")
    found = dict(read_between(source, {1, 4, 5, 30}))
    every = {sample.index: sample.pixels.rgb() for sample in read(source, None, ReadStats())}
    assert list(found) == [1, 4, 5]
    for index, image in found.items():
        np.testing.assert_array_equal(image, every[index])
    assert list(read_between(source, set())) == []
