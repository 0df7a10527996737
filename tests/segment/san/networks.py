"""A small side adapter network beside a random CLIP, and images of blocks for it to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.encoders.models import save
from wildseg.artifacts.project import Artifacts
from wildseg.methods.architectures import san
from wildseg.segment import vocabulary
from wildseg.segment.predict import describe
from wildseg.segment.san.network import San

PHRASES = (("red",), ("green", "lawn"), ("blue", "sea"))
TINY = str(Path(__file__).parents[3] / "models" / "tiny_clip" / "model.safetensors")
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


def save_model(artifacts: Artifacts, ids: tuple[int, ...] = (1, 2, 3), **config: Any) -> San:  # noqa: ANN401
    """Write models/segmenter as train does, of random weights beside the embedded CLIP, and return the network."""
    torch.manual_seed(0)
    network = san.build(3, "wildseg-tiny", TINY, PHRASES, ids, **OPTIONS)
    assert isinstance(network, San)
    norm = san.normalisation("wildseg-tiny", TINY)
    names = [phrases[0] for phrases in PHRASES]
    described = describe("san", "wildseg-tiny", OPTIONS, names, ids, norm.mean, norm.std)
    artifacts.save_segmenter(network.state_dict(), described | {vocabulary.NAMED: TINY} | config)
    return network
