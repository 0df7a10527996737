import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wildseg.frames.subsampling import RateSubsampler


def kept(times_s: list[float], interval_s: float) -> list[float]:
    pace = RateSubsampler(interval_s)
    return [time_s for time_s in times_s if pace.due(time_s)]


@pytest.mark.parametrize("rate", [24, 25, 30, 30000 / 1001, 50, 60])
@pytest.mark.parametrize("clock_s", [1e-9, 1e-3], ids=["exact", "milliseconds"])
def test_a_steady_camera_is_sampled_steadily(rate: float, clock_s: float) -> None:
    times = [round(n / rate / clock_s) * clock_s for n in range(1000)]
    assert len(kept(times, 1 / rate)) >= 999  # the camera's own rate keeps all
    every_other = kept(times, 2 / rate)
    np.testing.assert_allclose(every_other, times[::2], atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0.002, 3), min_size=1, max_size=60),
    st.floats(0.05, 5),
    st.floats(-5, 5e5),
)
def test_at_most_one_frame_an_interval_and_none_missed(gaps: list[float], interval_s: float, start_s: float) -> None:
    times = [start_s, *(start_s + np.cumsum(gaps))]
    result = kept(times, interval_s)
    assert result[0] == start_s
    ticks = [np.floor((t - start_s + 0.001) / interval_s) for t in result]
    assert len(set(ticks)) == len(ticks)
    assert set(ticks) == {np.floor((t - start_s + 0.001) / interval_s) for t in times}
