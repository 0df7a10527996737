from hypothesis import given
from hypothesis import strategies as st

from wildseg.report.sampling import sample_evenly


def test_frames_are_the_middles_of_equal_stretches() -> None:
    assert sample_evenly([range(10)], 1) == [5]
    assert sample_evenly([range(10)], 2) == [2, 7]
    assert sample_evenly([range(12)], 3) == [2, 6, 10]


def test_groups_share_and_the_first_gets_the_odd_one() -> None:
    assert sample_evenly(["abcd", "ABCD"], 3) == ["b", "d", "C"]


def test_what_a_short_group_cannot_give_the_other_does() -> None:
    assert sample_evenly(["a", "ABCD"], 4) == ["a", "A", "C", "D"]
    assert sample_evenly([[], "AB"], 1) == ["B"]


@given(st.lists(st.integers(0, 20), max_size=3), st.integers(0, 50))
def test_as_many_as_there_are_none_twice_and_in_order(sizes: list[int], count: int) -> None:
    groups = [[(group, item) for item in range(size)] for group, size in enumerate(sizes)]
    chosen = sample_evenly(groups, count)
    assert len(chosen) == min(count, sum(sizes))
    assert chosen == sorted(set(chosen))
