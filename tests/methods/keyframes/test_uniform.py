import math

import pytest

from tests.frames.clips import flat, samples
from wildseg.core.errors import ParamsError
from wildseg.frames.sample import ArrayPixels, Sample
from wildseg.methods.keyframes.uniform import select


def test_one_frame_each_interval_by_presentation_time() -> None:
    times = [7.0, 7.3, 7.9, 8.0, 8.9, 10.6, 10.9, 11.0]
    result = list(select(samples([flat(1)] * 8, times), every_s=1.0))
    assert [frame.time_s for frame, _ in result] == [7.0, 8.0, 10.6, 11.0]
    assert [score for _, score in result] == pytest.approx([math.inf, 1.0, 2.6, 0.4])


def test_photos_count_as_one_second_each() -> None:
    photos = [Sample("trip", n, None, ArrayPixels(flat(1))) for n in range(7)]
    assert [frame.index for frame, _ in select(photos, every_s=1.0)] == list(range(7))
    assert [frame.index for frame, _ in select(photos, every_s=3.0)] == [0, 3, 6]


@pytest.mark.parametrize("every_s", [0, -1, "1", None, True, float("nan")])
def test_an_interval_that_means_nothing_is_refused(every_s: object) -> None:
    with pytest.raises(ParamsError, match=r"extract\.options\.uniform\.every_s: expected a number above 0"):
        select([], every_s=every_s)
