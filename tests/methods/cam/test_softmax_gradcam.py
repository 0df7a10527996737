"""Softmax-Grad-CAM: what must not change its maps, and what its options mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.encoders.models import random_clip
from wildseg.cam.maps import normalise
from wildseg.cam.record import record_clip
from wildseg.cam.trace import Trace
from wildseg.core.errors import ParamsError
from wildseg.encoders.clip import Clip
from wildseg.methods.cam import softmax_gradcam

CLASSES = (0, 1, 3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("softmax"), "tiny")


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def texts() -> Tensor:
    return F.normalize(torch.randn(7, 16, generator=torch.Generator().manual_seed(6)), dim=-1)  # 5 classes, 2 others


def stretch(maps: Tensor) -> Tensor:
    """Bring maps to [0, 1] without the engine's 1e-7, which shows where raw maps are as small as here."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True)


def maps(trace: Trace, **options: str) -> Tensor:
    return stretch(softmax_gradcam.cam(trace, **options))


def by_probability(trace: Trace, columns: list[int]) -> Tensor:
    """Return the maps of p itself, patches pooled, as published, in place of its log odds."""

    def probability(logits: Tensor, classes: tuple[int, ...]) -> Tensor:
        return logits[:, columns].softmax(-1)[torch.arange(len(classes)), [columns.index(c) for c in classes]]

    weights = trace.gradients(probability, "patches").mean((2, 3), keepdim=True)
    return stretch((weights * trace.activations).sum(1).relu())


def test_one_class_and_nothing_else_has_an_empty_map_which_is_told_beforehand(
    clip: Clip, pixels: Tensor, texts: Tensor
) -> None:
    trace = record_clip(clip, pixels, texts[:1], (0,), 1)
    alone = trace.gradients(lambda logits, _: logits.softmax(-1)[:, 0])
    assert not (alone.mean((2, 3), keepdim=True) * trace.activations).sum(1).relu().any()
    with pytest.raises(ParamsError, match="one class and no background phrase.*background: auto.*gradcam"):
        softmax_gradcam.cam(trace)


def test_a_class_alone_in_its_frame_competes_with_the_absent_ones(clip: Clip, pixels: Tensor, texts: Tensor) -> None:
    trace = record_clip(clip, pixels, texts[:5], (2,), 5)
    assert softmax_gradcam.cam(trace).any()
    assert torch.equal(softmax_gradcam.cam(trace), softmax_gradcam.cam(trace, competitors="all"))


@pytest.mark.parametrize(("competitors", "columns"), [("present", [0, 1, 3, 5, 6]), ("all", [0, 1, 2, 3, 4, 5, 6])])
def test_the_map_of_a_probability_is_that_of_its_log_odds(
    competitors: str, columns: list[int], clip: Clip, pixels: Tensor, texts: Tensor
) -> None:
    trace = record_clip(clip, pixels, texts, CLASSES, 5)
    torch.testing.assert_close(maps(trace, competitors=competitors), by_probability(trace, columns), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [10.0, 30.0, 300.0])
def test_a_class_that_the_model_is_sure_of_has_a_map_all_the_same(
    scale: float, clip: Clip, pixels: Tensor, texts: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip.network.logit_scale, "data", torch.tensor(scale).log())
    trace = record_clip(clip, pixels, texts, tuple(range(5)), 5)
    logits = torch.zeros(7)

    def logit(all_logits: Tensor, classes: Sequence[int]) -> Tensor:
        logits.copy_(all_logits[0].detach())
        return all_logits[torch.arange(len(classes)), list(classes)]

    every = record_clip(clip, pixels, texts, tuple(range(7)), 7).gradients(logit, "patches")
    raw = (every.mean((2, 3), keepdim=True) * trace.activations).sum(1)  # L_j, (7, h, w)
    best = int(logits[:5].argmax())
    others = torch.tensor([text for text in range(7) if text != best])
    shares = logits[others].softmax(0)[:, None, None]
    expected = stretch((raw[best] - (shares * raw[others]).sum(0)).relu()[None])
    if scale == 300:
        assert logits.softmax(0)[best] == 1
    torch.testing.assert_close(normalise(softmax_gradcam.cam(trace))[[best]], expected, atol=1e-4, rtol=0)


def test_a_constant_added_to_all_logits_changes_nothing(
    clip: Clip, pixels: Tensor, texts: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = maps(record_clip(clip, pixels, texts, CLASSES, 5))
    monkeypatch.setattr(clip.network, "logit_bias", torch.nn.Parameter(torch.tensor(5.0)))
    torch.testing.assert_close(maps(record_clip(clip, pixels, texts, CLASSES, 5)), before, atol=1e-4, rtol=0)


def test_repeating_every_text_changes_nothing(clip: Clip, pixels: Tensor, texts: Tensor) -> None:
    once = maps(record_clip(clip, pixels, texts, CLASSES, 5), competitors="all")
    twice = maps(record_clip(clip, pixels, texts.repeat(2, 1), CLASSES, 5), competitors="all")
    torch.testing.assert_close(twice, once, atol=1e-4, rtol=0)


def test_permuting_classes_permutes_maps(clip: Clip, pixels: Tensor, texts: Tensor) -> None:
    there = maps(record_clip(clip, pixels, texts, (0, 1, 3), 5))
    back = maps(record_clip(clip, pixels, texts, (3, 0, 1), 5))
    torch.testing.assert_close(back, there[[2, 0, 1]], atol=1e-4, rtol=0)


def test_background_phrases_always_compete(clip: Clip, pixels: Tensor, texts: Tensor) -> None:
    with_background = record_clip(clip, pixels, texts, (2,), 5)
    assert softmax_gradcam.cam(with_background, competitors="present").any()


def test_absent_classes_compete_only_where_all_do(clip: Clip, pixels: Tensor, texts: Tensor) -> None:
    moved = texts.clone()
    moved[4] = -moved[4]
    traces = [record_clip(clip, pixels, t, CLASSES, 5) for t in (texts, moved)]
    one, other = (maps(trace, competitors="present") for trace in traces)
    torch.testing.assert_close(one, other)
    one, other = (maps(trace, competitors="all") for trace in traces)
    assert (one - other).abs().max() > 1e-3


def test_pooling_matters_for_a_model_that_pools_its_class_token(
    clip: Clip, pixels: Tensor, texts: Tensor, tmp_path: Path
) -> None:
    trace = record_clip(clip, pixels, texts, CLASSES, 5)
    assert (maps(trace, pool="model") - maps(trace, pool="patches")).abs().max() > 1e-3
    averaging = record_clip(random_clip(tmp_path, "avg"), torch.randn(1, 3, 64, 64), texts, CLASSES, 5)
    torch.testing.assert_close(maps(averaging, pool="model"), maps(averaging, pool="patches"))


def test_by_itself_it_pools_patches_unless_the_model_was_taught_with_regions(
    clip: Clip, pixels: Tensor, texts: Tensor, tmp_path: Path
) -> None:
    trace = record_clip(clip, pixels, texts, CLASSES, 5)
    assert torch.equal(maps(trace), maps(trace, pool="patches"))
    of_regions = record_clip(random_clip(tmp_path, "tiny", "regions"), pixels, texts, CLASSES, 5)
    assert torch.equal(maps(of_regions), maps(of_regions, pool="model"))


def test_the_published_target_is_the_probability(clip: Clip, pixels: Tensor, texts: Tensor) -> None:
    trace = record_clip(clip, pixels, texts, CLASSES, 5)
    found = maps(trace, target="probability", normalise_twice=True)
    torch.testing.assert_close(found, by_probability(trace, [0, 1, 3, 5, 6]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"competitors": "al"}, "competitors: expected one of present, all; found 'al'; did you mean 'all'"),
        ({"target": "log"}, "target: expected one of log_odds, probability; found 'log'"),
        ({"pool": "avg"}, "pool: expected one of auto, patches, model; found 'avg'"),
    ],
)
def test_options_that_mean_nothing_are_told(
    options: dict, line: str, clip: Clip, pixels: Tensor, texts: Tensor
) -> None:
    with pytest.raises(ParamsError, match=line):
        softmax_gradcam.cam(record_clip(clip, pixels, texts, CLASSES, 5), **options)
