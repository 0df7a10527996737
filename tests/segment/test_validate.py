import numpy as np
import pytest
import torch

from wildseg.segment.predict import Predictor
from wildseg.segment.validate import miou


class First(torch.nn.Module):
    """Answers id 1 everywhere."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.0, 1.0, 0.0])[None, :, None, None].expand(len(images), 3, *images.shape[-2:])


def test_it_is_the_miou_of_one_matrix_over_all_frames_without_ignored_pixels() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    masks = [np.array([[1, 1], [1, 255]], np.uint8), np.array([[2, 2], [1, 255]], np.uint8)]
    # Id 1: 4 right of 6 predicted; id 2: 0 of 2. Per frame it would be (1 + (1/3 + 0) / 2) / 2.
    found = miou(Predictor(First(), range(3)), [(image, mask) for mask in masks], 3)
    assert found == pytest.approx((4 / 6 + 0) / 2)
