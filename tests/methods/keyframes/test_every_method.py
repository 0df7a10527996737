"""What holds for every key-frame method, also one that is added tomorrow."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.frames.clips import samples
from wildseg.core import lookup
from wildseg.frames.sample import Sample

FOLDER = "methods.keyframes"
METHODS = lookup.available(FOLDER)
IMAGES = [np.random.default_rng(n // 4).integers(0, 256, (24, 32, 3)).astype(np.uint8) for n in range(32)]
TIMES = np.cumsum(np.random.default_rng(0).uniform(0.05, 0.9, 32)).tolist()


@pytest.fixture(params=METHODS)
def select(request: pytest.FixtureRequest) -> Callable[..., Iterator[tuple[Sample, float]]]:
    return lookup.load(FOLDER, request.param).select


def test_the_methods_are_there() -> None:
    assert {"absdiff", "uniform", "adaptive"} <= set(METHODS)


def test_frames_are_kept_in_order_once_and_the_first_always(select) -> None:  # noqa: ANN001
    frames = samples(IMAGES, TIMES)
    result = list(select(frames))
    assert result[0][0] is frames[0]
    indices = [frame.index for frame, _ in result]
    assert indices == sorted(set(indices))
    assert 1 < len(indices) < len(frames)
    assert all(frame is frames[frame.index] and score > 0 for frame, score in result)


def test_the_same_frames_give_the_same_choice_and_sources_do_not_mix(select) -> None:  # noqa: ANN001
    first = [frame.index for frame, _ in select(samples(IMAGES, TIMES))]
    assert [frame.index for frame, _ in select(samples(IMAGES, TIMES, source="other"))] == first


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_frames_are_no_error(select, count: int) -> None:  # noqa: ANN001
    assert len(list(select(samples(IMAGES[:count], TIMES[:count])))) == min(count, 1)


def test_frames_are_taken_one_at_a_time(select) -> None:  # noqa: ANN001
    taken = []

    def stream() -> Iterator[Sample]:
        for frame in samples(IMAGES, TIMES):
            taken.append(frame.index)
            yield frame

    next(iter(select(stream())))
    assert len(taken) <= 5
