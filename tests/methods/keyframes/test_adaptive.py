import cv2
import numpy as np
import pytest
from scenedetect import AdaptiveDetector, FrameTimecode

from tests.frames.clips import flat, samples
from wildseg.core.errors import ParamsError
from wildseg.frames.sample import Sample
from wildseg.methods.keyframes.adaptive import WIDTH, select


def moving(seed: int, count: int, speed: int = 1) -> list[np.ndarray]:
    """A texture of one colour that moves to the left: `count` images of (48, 64, 3) uint8."""
    rng = np.random.default_rng(seed)
    colour = np.roll((40, 90, 180), seed)
    coarse = (colour + rng.integers(-25, 26, (6, 40, 1))).astype(np.uint8)
    long = cv2.resize(coarse, (64 + speed * count, 48))
    return [long[:, n * speed : n * speed + 64] for n in range(count)]


SCENES = moving(1, 14) + moving(2, 9) + moving(3, 17) + moving(4, 12)
STARTS = [0, 14, 23, 40]
TIMES = [n / 10 for n in range(len(SCENES))]


def kept(frames: list[Sample], **options: object) -> list[int]:
    return [frame.index for frame, _ in select(frames, **options)]


def cuts_by_definition(images: list[np.ndarray], threshold: float, min_content: float, window: int) -> list[int]:
    """Content scores, their ratio to the neighbours' mean, and where both are high enough."""
    hsv = [cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(int) for image in images]
    scores = [0.0] + [float(np.abs(b - a).mean()) for a, b in zip(hsv, hsv[1:], strict=False)]
    cuts = []
    for t in range(window, len(scores) - window):
        around = (sum(scores[t - window : t + window + 1]) - scores[t]) / (2 * window)
        ratio = min(scores[t] / around, 255.0) if around > 1e-5 else 255.0 * (scores[t] >= min_content)
        if ratio >= threshold and scores[t] >= min_content:
            cuts.append(t)
    return cuts


@pytest.mark.parametrize("window", [1, 2, 4])
def test_one_frame_for_each_scene(window: int) -> None:
    assert kept(samples(SCENES, TIMES), window=window, every_s=None) == STARTS
    assert cuts_by_definition(SCENES, 3.0, 15.0, window) == STARTS[1:]


@pytest.mark.parametrize("seed", range(6))
def test_cuts_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images: list[np.ndarray] = []
    for part in range(12):
        images += moving(12 * seed + part, int(rng.integers(1, 8)), int(rng.integers(0, 9)))
    threshold, min_content = rng.uniform(1.2, 3), rng.uniform(5, 40)
    expected = cuts_by_definition(images, threshold, min_content, 2)
    result = kept(samples(images), threshold=threshold, min_content=min_content, min_scene_s=0.0, every_s=None)
    assert result == [0, *expected]


def test_cuts_are_those_of_pyscenedetect_fed_by_frame_numbers() -> None:
    detector = AdaptiveDetector(min_scene_len=6)
    cuts = []
    for n, image in enumerate(SCENES):
        cuts += detector.process_frame(FrameTimecode(n, 10.0), image[..., ::-1])
    assert kept(samples(SCENES, TIMES), min_scene_s=0.6, every_s=None) == [0, *(cut.frame_num for cut in cuts)]


def test_a_spike_stands_out_by_the_ratio_to_its_neighbours() -> None:
    # Saturation 0 and hue 0: a grey step of 15 makes a content score of 5, one of 180 makes 60; the ratio is 12.
    levels = [0, 15, 0, 15, 195, 180, 195, 180, 195]
    frames = samples([flat(level) for level in levels])
    assert kept(frames, threshold=12.0, min_content=60.0, every_s=None) == [0, 4]
    assert kept(frames, threshold=12.1, min_content=15.0, every_s=None) == [0]
    assert kept(frames, threshold=3.0, min_content=60.1, every_s=None) == [0]
    steady = samples([flat(level) for level in (0, 180, 0, 180, 0, 180, 0, 180)])
    assert kept(steady, threshold=1.4, every_s=None) == [0]


def test_scenes_have_a_least_length_in_seconds_of_presentation_time() -> None:
    assert kept(samples(SCENES, TIMES), min_scene_s=1.0, every_s=None) == [0, 14, 40]
    slow = samples(SCENES, [2 * time for time in TIMES])
    assert kept(slow, min_scene_s=1.0, every_s=None) == STARTS


def test_long_scenes_give_more_frames() -> None:
    result = list(select(samples(SCENES, TIMES), every_s=0.5))
    assert [frame.index for frame, _ in result] == [0, 5, 10, 14, 19, 23, 28, 33, 38, 40, 45, 50]
    assert [score for _, score in result[1:]] == pytest.approx([0.5, 0.5, 0.4, 0.5, 0.4, 0.5, 0.5, 0.5, 0.2, 0.5, 0.5])


def test_large_frames_are_shrunk_and_a_change_of_size_is_no_error() -> None:
    images = [cv2.resize(image, (400, 300) if n < 20 else (320, 240)) for n, image in enumerate(SCENES)]
    assert max(image.shape[1] for image in images) > WIDTH
    assert kept(samples(images, TIMES), every_s=None) == STARTS


def test_only_the_window_is_held_in_memory() -> None:
    asked: list[int] = []

    def stream() -> object:
        for frame in samples(SCENES, TIMES):
            asked.append(frame.index)
            yield frame

    for frame, _ in select(stream(), window=3, every_s=0.1):
        assert asked[-1] - frame.index <= 3


@pytest.mark.parametrize(
    ("option", "value"),
    [("threshold", -1), ("min_content", "x"), ("window", 0), ("window", 1.5), ("min_scene_s", None), ("every_s", 0)],
)
def test_options_that_mean_nothing_are_refused(option: str, value: object) -> None:
    with pytest.raises(ParamsError, match=rf"extract\.options\.adaptive\.{option}: expected a .*number"):
        select([], **{option: value})


@pytest.mark.parametrize("rate", [30.0, 60.0, 30000 / 1001, 15.0])
def test_times_that_are_stored_in_milliseconds_keep_a_steady_pace(rate: float) -> None:
    times = [round(n / rate, 3) for n in range(20)]
    assert any(later - earlier < 1 / rate for earlier, later in zip(times, times[1:], strict=False))
    assert kept(samples([flat(90)] * 20, times), every_s=1 / rate) == list(range(20))
    early = [n * (1 / rate - 0.0015) for n in range(3)]
    assert kept(samples([flat(90)] * 3, early), every_s=1 / rate) == [0, 2]
