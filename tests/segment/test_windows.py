"""Sliding windows against brute force, on networks of a few weights."""

import numpy as np
import pytest
import torch

from tests.segment.networks import stripes, tiny
from wildseg.core.errors import ParamsError
from wildseg.segment.predict import Predictor
from wildseg.segment.windows import Window, mean_logits


@pytest.mark.parametrize(
    ("length", "size", "overlap", "expected"),
    [
        (10, 10, 0.5, [0]),
        (7, 10, 0.5, [0]),
        (11, 10, 0.5, [0, 1]),
        (20, 10, 0.5, [0, 5, 10]),
        (22, 10, 0.5, [0, 5, 10, 12]),
        (20, 10, 0.0, [0, 10]),
        (3, 1, 0.9, [0, 1, 2]),
    ],
)
def test_windows_cover_a_side_and_the_last_one_ends_with_it(
    length: int, size: int, overlap: float, expected: list[int]
) -> None:
    assert Window(size, overlap).starts(length) == expected


@pytest.mark.parametrize(("size", "overlap"), [(0, 0.5), (8, 1.0), (8, -0.1), (8, float("nan"))])
def test_a_window_that_is_none_is_refused(size: int, overlap: float) -> None:
    with pytest.raises(ParamsError, match=r"^window: expected at least 1 pixel and an overlap from 0 to below 1"):
        Window(size, overlap)


def test_logits_are_the_mean_over_every_window_that_covers_a_pixel() -> None:
    network = tiny().eval()  # a convolution of 3x3, so that logits depend on where a window ends
    images = torch.rand(2, 3, 11, 14)
    with torch.no_grad():
        found = mean_logits(network, images, Window(6, 0.5))
        for y in range(11):
            for x in range(14):
                covering = [
                    network(images[..., top : top + 6, left : left + 6])[..., y - top, x - left]
                    for top in (0, 3, 5)
                    for left in (0, 3, 6, 8)
                    if top <= y < top + 6 and left <= x < left + 6
                ]
                torch.testing.assert_close(found[..., y, x], torch.stack(covering).mean(0), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(found, network(images), atol=1e-3)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_window_of_the_size_of_the_image_is_the_whole_image(scale: float) -> None:
    image = stripes(0)[0][None]  # 12 x 16
    predictor = Predictor(tiny(), [1, 2, 3])
    whole = predictor.probabilities(image, (scale,), True)
    assert torch.equal(predictor.probabilities(image, (scale,), True, Window(round(16 * scale), 0.25)), whole)
    assert torch.equal(predictor.probabilities(image, (scale,), True, Window(1000)), whole)
    smaller = predictor.probabilities(image, (scale,), True, Window(5))
    torch.testing.assert_close(smaller.sum(1), torch.ones(1, 12, 16))
    assert (smaller[:, 0] == 0).all()
    assert not torch.allclose(smaller, whole, atol=1e-3)


def test_a_longest_side_is_a_smaller_scale_and_enlarges_nothing() -> None:
    image = np.ascontiguousarray(stripes(0)[0])[None]
    predictor = Predictor(tiny(), range(4))
    assert torch.equal(predictor.probabilities(image, max_side=8), predictor.probabilities(image, (0.5,)))
    assert torch.equal(
        predictor.probabilities(image, (1.0, 2.0), max_side=8), predictor.probabilities(image, (0.5, 1.0))
    )
    assert torch.equal(predictor.probabilities(image, max_side=100), predictor.probabilities(image))
