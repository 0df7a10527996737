from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from wildseg.segment.consistency import SCALE, views_of
from wildseg.segment.predict import Predictor


class Columns(torch.nn.Module):
    """Class 1 where a pixel is bright, class 2 in the left half, whatever the pixel, and class 3 in small images."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        bright = image.mean(1, keepdim=True)
        left = torch.zeros_like(bright)
        left[..., : image.shape[-1] // 2] = 3.0
        small = torch.full_like(bright, 9.0 if image.shape[-1] < 8 else -9.0)
        return torch.cat([torch.full_like(bright, -9.0), bright, left, small], 1)


def views(image: np.ndarray, scales: tuple[float, ...] = (1.0,), flip: bool = False) -> Any:  # noqa: ANN401
    predictor = Predictor(Columns(), [1, 2, 3], mean=(0.5,) * 3, std=(0.5,) * 3)
    return views_of(predictor, image, SimpleNamespace(scales=scales, flip=flip))  # type: ignore[arg-type]


def test_the_mirrored_view_is_turned_back() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 6:] = 255
    found = views(image)
    assert found.plain[0].tolist() == [2, 2, 2, 2, 2, 2, 1, 1]
    assert found.mirrored[0].tolist() == [2] * 8  # what is bright lies in the left half of the mirror image
    image[:, :2] = 255
    image[:, 4] = 255
    assert views(image).mirrored[0].tolist() == [1, 1, 2, 2, 2, 2, 2, 2]


def test_the_smaller_view_has_the_size_of_the_frame() -> None:
    found = views(np.zeros((4, 8, 3), np.uint8))
    assert 8 * SCALE < 8
    assert found.scaled.shape == (4, 8)
    assert (found.scaled == 3).all()  # the network had six columns
    assert not (found.plain == 3).any()


def test_views_are_single_passes_also_where_eval_averages() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 8, 3), np.uint8)
    single, averaged = views(image), views(image, (1.0, 0.75), flip=True)
    assert np.array_equal(single.plain, averaged.plain)
    assert np.array_equal(single.probabilities.argmax(0), single.plain)
    assert not np.allclose(single.probabilities, averaged.probabilities)
    np.testing.assert_allclose(averaged.probabilities.sum(0), 1, rtol=1e-5)
