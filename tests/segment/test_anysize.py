"""Images of any size on networks of a fixed stride, against what such a network is given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wildseg.segment.anysize import AnySize


class Recorder(torch.nn.Module):
    """Keeps what it was given, and returns it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.given = images
        return images


class Network(AnySize, Recorder):
    encoder = SimpleNamespace(output_stride=4)


@pytest.mark.parametrize("size", [(5, 6), (8, 4), (1, 9)])
def test_the_border_is_repeated_below_and_to_the_right_and_cut_off_again(size: tuple[int, int]) -> None:
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, *size)))
    network = Network()
    answer = network(images)
    below, right = -size[0] % 4, -size[1] % 4
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
    np.testing.assert_array_equal(network.given, expected)
    assert torch.equal(answer, images)
