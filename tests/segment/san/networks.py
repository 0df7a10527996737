"""A small side adapter network beside a random CLIP, and images of blocks for it to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.encoders.models import save
from wildseg.methods.architectures import san
from wildseg.segment.san.network import San

PHRASES = (("red",), ("green", "lawn"), ("blue", "sea"))
OPTIONS = {"queries": 8, "width": 24, "depth": 3, "heads": 3, "points": 256}


def small(folder: Path, kind: str = "tiny", **changes: Any) -> San:  # noqa: ANN401
    """Save a random CLIP of a kind in a folder, and build a network of three classes beside it."""
    name, file = save(folder, kind)
    torch.manual_seed(0)
    ids = changes.pop("ids", (0, 1, 2, 3))
    network = san.build(3, name, file, PHRASES, ids, **{**OPTIONS, **changes})
    assert isinstance(network, San)
    return network


def blocks(side: int = 32) -> tuple[Tensor, Tensor]:
    """Return two images of 3 x 2 blocks of one colour each, (2, 3, 3 side, 2 side), and their ids 1 to 3."""
    first = torch.tensor([[1, 2], [3, 1], [2, 3]])
    ids = torch.stack([first, first.flip(1)]).repeat_interleave(side, 1).repeat_interleave(side, 2)
    images = 2 * torch.nn.functional.one_hot(ids, 4)[..., 1:].permute(0, 3, 1, 2).float() - 1
    return images, ids
