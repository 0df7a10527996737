"""Videos of pictures: each at its own time, of any size."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.frames.clips import number_of, numbered
from wildseg.report.video import video_writer

RATE = Fraction(30000, 1001)


def read(path: Path) -> tuple[list[float], list[np.ndarray], av.VideoStream]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return [frame.time for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames], stream


def test_pictures_come_back_in_order_at_the_rate_that_millisecond_times_stand_for(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.mp4"
    with video_writer(path, RATE) as writer:
        for index in range(30):
            writer.add(numbered(index), 7 + round(index / RATE, 3))  # a stream may begin at any time
            assert not path.exists()
    times, pictures, stream = read(path)
    assert [number_of(picture) for picture in pictures] == list(range(30))
    assert times == pytest.approx([float(index / RATE) for index in range(30)], abs=1e-5)
    assert stream.average_rate == pytest.approx(RATE, rel=1e-4)


def test_uneven_times_are_those_of_the_pictures_and_always_advance(tmp_path: Path) -> None:
    given = [0.0, 0.05, 0.4, 0.4, 1.0]
    with video_writer(tmp_path / "a.mp4", Fraction(10)) as writer:
        for index, time_s in enumerate(given):
            writer.add(numbered(index), time_s)
    times, pictures, _ = read(tmp_path / "a.mp4")
    assert times == pytest.approx([0.0, 0.05, 0.4, 0.4 + 1 / 90_000, 1.0], abs=1e-6)
    assert [number_of(picture) for picture in pictures] == list(range(5))


def test_odd_sides_stay_and_a_later_size_becomes_the_first(tmp_path: Path) -> None:
    with video_writer(tmp_path / "a.mp4", Fraction(10)) as writer:
        for index, shape in enumerate(((33, 47, 3), (20, 20, 3))):
            writer.add(np.full(shape, 200, np.uint8), index / 10)
    _, pictures, stream = read(tmp_path / "a.mp4")
    assert (stream.height, stream.width) == (33, 47)
    assert [abs(int(np.median(picture)) - 200) < 5 for picture in pictures] == [True, True]


def test_what_was_stopped_leaves_no_file(tmp_path: Path) -> None:
    def stopped() -> None:
        with video_writer(tmp_path / "a.mp4", Fraction(10)) as writer:
            writer.add(numbered(1), 0.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(tmp_path.iterdir()) == []
