from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wildseg.frames.split import split_by_time

ORDER = {"train": 0, "val": 1, "test": 2}
times = st.lists(st.floats(0, 600, allow_nan=False), min_size=1, max_size=80, unique=True).map(sorted)
shares = st.tuples(st.floats(0, 0.4), st.floats(0, 0.5))


@settings(deadline=None, max_examples=60)
@given(times, shares, st.none() | st.floats(0.5, 300))
def test_every_frame_is_in_one_split_and_splits_are_blocks_in_order(
    clocks: list[float], parts: tuple[float, float], stretch_s: float | None
) -> None:
    val, test = parts
    span = (0.0, clocks[-1])
    splits = split_by_time(clocks, span, val=val, test=test, stretch_s=stretch_s)
    assert len(splits) == len(clocks)
    assert set(splits) <= set(ORDER)
    stretches = 1 if stretch_s is None else max(1, round(span[1] / stretch_s))
    blocks = [split for split, _ in groupby(splits)]
    # A new stretch is the only reason to go back from a later part to an earlier one.
    assert sum(ORDER[later] < ORDER[earlier] for earlier, later in pairwise(blocks)) < stretches
    if stretches == 1:
        assert [ORDER[split] for split in splits] == sorted(ORDER[split] for split in splits)


@settings(deadline=None, max_examples=60)
@given(times, shares, st.floats(0.5, 300))
def test_which_other_frames_are_kept_moves_none(
    clocks: list[float], parts: tuple[float, float], stretch_s: float
) -> None:
    val, test = parts
    span = (0.0, 600.0)
    splits = split_by_time(clocks, span, val=val, test=test, stretch_s=stretch_s)
    assert split_by_time(clocks[::3], span, val=val, test=test, stretch_s=stretch_s) == splits[::3]


@pytest.mark.parametrize("stretch_s", [None, 6.0, 7.3, 60.0, 1000.0])
def test_shares_are_met(stretch_s: float | None) -> None:
    clocks = np.linspace(3, 123, 12001).tolist()
    splits = split_by_time(clocks, (3, 123), val=0.1, test=0.2, stretch_s=stretch_s)
    assert [splits.count(name) / len(splits) for name in ORDER] == pytest.approx([0.7, 0.1, 0.2], abs=0.005)


def test_stretches_have_about_the_wanted_length_and_all_the_same() -> None:
    clocks = (np.arange(200) * 0.1 + 0.05).tolist()
    splits = split_by_time(clocks, (0.0, 20.0), val=0.0, test=0.5, stretch_s=6.0)  # 20 / 6 is nearest to 3 stretches
    assert splits == ["train" if t % (20 / 3) < 10 / 3 else "test" for t in clocks]


def test_ten_frames_without_stretches_are_seven_one_and_two() -> None:
    splits = split_by_time(range(10), (0, 9), val=0.1, test=0.2, stretch_s=None)
    assert splits == ["train"] * 7 + ["val"] + ["test"] * 2


def test_borders_belong_to_the_later_part() -> None:
    splits = split_by_time([0, 6.99, 7, 7.99, 8, 10], (0, 10), val=0.1, test=0.2, stretch_s=None)
    assert splits == ["train", "train", "val", "val", "test", "test"]
    assert split_by_time([0, 10], (0, 10), val=0, test=0, stretch_s=None) == ["train", "train"]


def test_one_frame_alone_is_train() -> None:
    assert split_by_time([42.0], (42.0, 42.0), val=0.1, test=0.2, stretch_s=6.0) == ["train"]
