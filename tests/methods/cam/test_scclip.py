"""SC-CLIP: its steps on paper, and the whole against a version of plain loops over open_clip's own modules."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.encoders.models import noise, random_clip
from wildseg.cam.record import record_clip
from wildseg.cam.tower_state import RecordConfig
from wildseg.cam.trace import Trace
from wildseg.encoders.clip import Clip
from wildseg.methods.cam import scclip

SIZE = (64, 96)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("scclip"), "ten-blocks")


@pytest.fixture(scope="module")
def trace(clip: Clip) -> Trace:
    texts = clip.classifier([["sky"], ["road"], ["lawn"], ["water"]], ["{}"])
    return record_clip(clip, clip.pixels([noise(SIZE)]), texts, (0, 2), 3, RecordConfig(outputs=True))


def test_outlier_factors_of_the_published_code_on_paper() -> None:
    points = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]])
    torch.testing.assert_close(scclip.outlier_factors(points, 2), torch.tensor([4.0, 0.625, 0.625, 4.0, 40.0]))


def test_outlier_factors_of_points_that_coincide_and_of_few_are_finite() -> None:
    assert torch.isfinite(scclip.outlier_factors(torch.ones(6, 3), 3)).all()
    assert torch.isfinite(scclip.outlier_factors(torch.randn(4, 3), 30)).all()
    assert scclip.outlier_factors(torch.ones(1, 3), 30).tolist() == [0.0]


def test_the_highest_are_those_above_the_quantile() -> None:
    assert scclip.highest(torch.arange(100.0), 0.05).nonzero()[:, 0].tolist() == [95, 96, 97, 98, 99]
    assert not scclip.highest(torch.arange(100.0), 0.0).any()


def test_an_odd_patch_becomes_the_mean_of_its_sound_neighbours() -> None:
    patches = torch.rand(12, 3, generator=torch.Generator().manual_seed(0))
    odd = torch.zeros(12, dtype=torch.bool)
    odd[[0, 5, 6]] = True  # of a grid of 3x4: a corner, and two beside each other
    expected = patches.clone()
    for place in (0, 5, 6):
        row, column = divmod(place, 4)
        near = [
            patches[r * 4 + c]
            for r in range(row - 1, row + 2)
            for c in range(column - 1, column + 2)
            if 0 <= r < 3 and 0 <= c < 4 and not odd[r * 4 + c]
        ]
        expected[place] = torch.stack(near).mean(0)
    torch.testing.assert_close(scclip.repaired(patches, odd, (3, 4)), expected)
    everywhere = torch.ones(12, dtype=torch.bool)
    torch.testing.assert_close(scclip.repaired(patches, everywhere, (3, 4)), patches)


def test_blocks_are_those_published_of_twelve_and_scale_with_depth() -> None:
    assert scclip.levels(12) == (4, 9, 10)
    assert scclip.levels(24) == (8, 18, 20)
    assert scclip.levels(5) == (2, 4, 4)
    assert scclip.levels(2) == (1, 1, 1)


def plainly(clip: Clip, trace: Trace, several: bool) -> Tensor:
    """The method with 5 % of outliers and 30 neighbours, by open_clip's blocks."""
    visual, blocks = clip.network.visual, list(clip.network.visual.transformer.resblocks)
    assert trace.blocks is not None
    assert trace.texts is not None
    height, width = trace.blocks.grid
    x, leaving = trace.blocks.embedded(), []
    for block in blocks[:-1]:
        x = block(x[None])[0]
        leaving.append(x)
    patches, number = x[1:], height * width
    squares = ((patches[:, None] - patches[None]) ** 2).sum(-1)
    k = min(30, number - 1)
    order = []
    for i in range(number):
        others = [j for j in range(number) if j != i]
        order.append(sorted(others, key=lambda j, i=i: squares[i, j].item())[:k])
    density = [1 / squares[i, order[i][-1]].item() for i in range(number)]
    factors = torch.tensor([sum(density[j] for j in order[i]) / k / density[i] for i in range(number)])
    odd = factors > torch.quantile(factors, 0.95)
    assert odd.any()

    def repaired(values: Tensor) -> Tensor:
        done = values.clone()
        for place in odd.nonzero()[:, 0].tolist():
            r, c = divmod(place, width)
            near = [
                (r + a) * width + c + b
                for a in (-1, 0, 1) for b in (-1, 0, 1)
                if (a or b) and 0 <= r + a < height and 0 <= c + b < width and not odd[(r + a) * width + c + b]
            ]  # fmt: skip
            done[place] = values[near].mean(0) if near else values[place]
        return done

    def likeness(values: Tensor) -> Tensor:
        return F.cosine_similarity(values[:, None], values[None], dim=-1)

    def spread(alike: Tensor, values: Tensor) -> Tensor:
        kept = torch.where(alike < 0.4, torch.zeros(()), alike)
        return kept @ values / kept.sum(1, keepdim=True)

    low, middle, high = 3, 8, 8  # of ten blocks: 4, 9 and 10 twelfths, rounded
    alike = likeness(repaired(leaving[middle - 1][1:]))
    centred = 3 * (alike - alike.mean())
    first = torch.where(centred < 0, torch.tensor(-torch.inf), centred).softmax(-1)
    last, size = blocks[-1], blocks[-1].attn.embed_dim
    head = size // last.attn.num_heads

    def through(values: Tensor, cls: Tensor) -> Tensor:
        normed = last.ln_1(values)
        _, keys, content = F.linear(normed, last.attn.in_proj_weight, last.attn.in_proj_bias).split(size, dim=-1)
        outputs = []
        for start in range(0, size, head):
            own = keys[:, start : start + head]
            weights = (first + (own @ own.T / head**0.5).softmax(-1)) / 2
            outputs.append(weights @ content[:, start : start + head])
        return last.attn.out_proj(torch.cat(outputs, 1)) + 0.3 * cls

    found = through(spread(alike, repaired(patches)), x[0])
    below = likeness(leaving[low - 1][1:])
    found = spread(below, found)
    if several:
        total = sum(leaving[low - 1 : high])
        found = found + spread(below, through(total[1:], total[0]))
    features = F.normalize(visual.ln_post(found) @ visual.proj, dim=-1)
    return (40 * features @ trace.texts.T).softmax(1)[:, [0, 2]].T.unflatten(1, trace.blocks.grid)


@torch.no_grad()
@pytest.mark.parametrize("several", [True, False])
def test_it_is_the_published_computation(several: bool, clip: Clip, trace: Trace) -> None:
    assert scclip.levels(10) == (3, 8, 8)
    found = scclip.cam(trace, competitors="all", several_blocks=several)
    torch.testing.assert_close(found, plainly(clip, trace, several), atol=2e-4, rtol=0)


def test_each_step_changes_the_maps(trace: Trace) -> None:
    plain = scclip.cam(trace)
    steps = ({"outliers": 0.3}, {"similarity": 0.9}, {"sharpness": 30.0}, {"class_token": 3.0}, {"neighbours": 2})
    for changed in steps:
        assert (scclip.cam(trace, **changed) - plain).abs().max() > 1e-5, changed
