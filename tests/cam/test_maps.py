"""Maps stretched to [0, 1], by numbers."""

from __future__ import annotations

import pytest
import torch

from wildseg.cam.maps import normalise


@pytest.mark.parametrize(("largest", "expected"), [(1.0, 1 / (1 + 1e-7)), (1e-6, 10 / 11), (1e-7, 1 / 2), (0.0, 0.0)])
def test_a_map_is_divided_by_its_range_and_a_ten_millionth(largest: float, expected: float) -> None:
    maps = torch.tensor([[[3.0, 3.0 + largest]]], dtype=torch.float64)
    assert normalise(maps)[0, 0].tolist() == pytest.approx([0.0, expected], rel=1e-6)
