"""Splits of a data set as two shares: `extract` gives each photo the split that it had."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wildseg.frames.split import split_by_time
from wildseg.stages.exchange.splits import shares


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(0, 200), st.integers(0, 200))
def test_each_photo_has_the_split_that_it_had(train: int, val: int, test: int) -> None:
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    found = shares(splits)
    if len(splits) < 2:
        assert found is None
        return
    assert found is not None
    of_val, of_test = found
    assert of_val + of_test < 1  # params.yaml accepts them
    places = range(len(splits))
    assert split_by_time(places, (0, len(splits) - 1), val=of_val, test=of_test, stretch_s=None) == splits


@pytest.mark.parametrize("splits", [["test"] * 3, ["val", "train"], ["train", "test", "val"], ["train", "", "val"], []])
def test_what_no_shares_express_is_none(splits: list[str]) -> None:
    assert shares(splits) is None
