"""The pairing rule and the loss, against plain loops."""

import math

import pytest
import torch

from wildseg_demo.tiny_clip.loss import pair_targets, region_text_loss


def _random_targets() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coverage = torch.rand(20, 4, generator=generator)
    named = torch.rand(15, 4, generator=generator) > 0.5
    named[~named.any(1), 0] = True
    return coverage > 0.6, coverage < 0.3, named


def test_a_text_matches_a_region_that_shows_all_it_names_and_is_judged_wrong_where_something_is_absent() -> None:
    visible, absent, named = _random_targets()
    match, judged = pair_targets(visible, absent, named)
    for region in range(20):
        for text in range(15):
            surfaces = named[text].nonzero().flatten().tolist()
            matches = all(visible[region, k] for k in surfaces)
            wrong = any(absent[region, k] for k in surfaces)
            assert match[region, text] == matches
            assert judged[region, text] == (matches or wrong)


def test_the_loss_is_the_mean_binary_cross_entropy_of_judged_pairs() -> None:
    regions, texts = torch.randn(3, 5), torch.randn(2, 5)
    match = torch.tensor([[True, False], [False, False], [True, True]])
    judged = torch.tensor([[True, True], [False, True], [True, False]])
    scale, bias = torch.tensor(8.0), torch.tensor(-2.0)
    total = 0.0
    for r in range(3):
        for t in range(2):
            cosine = float(regions[r] @ texts[t] / regions[r].norm() / texts[t].norm())
            probability = 1 / (1 + math.exp(-(8.0 * cosine - 2.0)))
            likelihood = probability if match[r, t] else 1 - probability
            total += -math.log(likelihood) if judged[r, t] else 0.0
    loss = region_text_loss(regions, texts, scale, bias, (match, judged))
    assert float(loss) == pytest.approx(total / 6, rel=1e-4)
