"""The causal predictor against plain loops, its degenerate cases, and the classifier around it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wildseg.cam.networks.causal import CausalNet, CausalPredictor

SIDE = 4


def predictor(embedding: int = 1, std: float = 0.3) -> CausalPredictor:
    torch.manual_seed(2)
    built = CausalPredictor(SIDE, embedding)
    for layer in (built.query, built.key):
        nn.init.normal_(layer.weight, std=std)
        nn.init.normal_(layer.bias, std=std)
    return built


def dictionary(classes: int) -> Tensor:
    return torch.rand(classes, SIDE, SIDE, generator=torch.Generator().manual_seed(classes))


def masks(number: int = 3) -> Tensor:
    return (torch.rand(number, SIDE, SIDE, generator=torch.Generator().manual_seed(9)) < 0.4).float()


def by_loops(built: CausalPredictor, mask: Tensor, priors: Tensor) -> np.ndarray:
    """One mask's context by the equations, number by number."""
    flat, size = mask.flatten().tolist(), built.query.out_features
    weights = {name: getattr(built, name).weight.tolist() for name in ("query", "key")}
    biases = {name: getattr(built, name).bias.tolist() for name in ("query", "key")}

    def embed(name: str, values: list[float]) -> list[float]:
        return [
            sum(w * v for w, v in zip(weights[name][e], values, strict=True)) + biases[name][e] for e in range(size)
        ]

    query = embed("query", flat)
    scores = []
    for prior in priors:
        key = embed("key", prior.flatten().tolist())
        scores.append(math.exp(sum(q * k for q, k in zip(query, key, strict=True)) / math.sqrt(size)))
    context = np.zeros((SIDE, SIDE))
    for score, prior in zip(scores, priors, strict=True):
        context += score / sum(scores) * (1 / len(priors)) * prior.numpy()
    return context


@pytest.mark.parametrize("embedding", [1, 3])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_it_computes_the_equations(embedding: int, classes: int) -> None:
    built, priors = predictor(embedding), dictionary(classes)
    found = built(masks(), priors).detach().numpy()
    assert found.shape == (3, SIDE, SIDE)
    for one, mask in zip(found, masks(), strict=True):
        np.testing.assert_allclose(one, by_loops(built, mask, priors), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(built.attention(masks(), priors).sum(1), torch.ones(3))


def test_weights_start_small_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    built = CausalPredictor(64, 2)
    for layer in (built.query, built.key):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not layer.bias.any()


def test_one_class_gives_its_prior_whatever_the_mask_and_weights() -> None:
    built, priors = predictor(), dictionary(1)
    context = built(masks(), priors)
    torch.testing.assert_close(context, priors.expand(3, -1, -1))
    (context * torch.arange(16.0).view(4, 4)).sum().backward()
    for layer in (built.query, built.key):
        assert not layer.weight.grad.any()
        assert not layer.bias.grad.any()


def test_equal_keys_give_the_mean_of_priors_over_the_number_of_classes() -> None:
    built, priors = predictor(), dictionary(4)
    nn.init.zeros_(built.key.weight)
    torch.testing.assert_close(built.attention(masks(), priors), torch.full((3, 4), 0.25))
    torch.testing.assert_close(built(masks(), priors), (priors.sum(0) / 16).expand(3, -1, -1))


def test_a_mask_may_attend_to_the_prior_it_goes_with() -> None:
    priors = torch.zeros(2, SIDE, SIDE)
    priors[0, :2] = 1
    priors[1, 2:] = 1
    built = predictor(embedding=2)
    halves = torch.stack([priors[0].flatten(), priors[1].flatten()])
    for layer in (built.query, built.key):
        layer.weight.data, layer.bias.data = halves.clone(), torch.zeros(2)
    context = built(priors, priors)
    torch.testing.assert_close(context, priors / 2, atol=1e-4, rtol=0)
    assert torch.equal(built.attention(priors, priors).argmax(1), torch.tensor([0, 1]))


def test_gradients_agree_with_finite_differences() -> None:
    built = predictor(2).double()
    inputs = (masks(2).double().requires_grad_(), dictionary(3).double().requires_grad_())
    assert torch.autograd.gradcheck(built, inputs)


def test_a_long_query_is_summed_in_single_precision_under_autocast() -> None:
    torch.manual_seed(0)
    built, priors = CausalPredictor(64), torch.rand(3, 64, 64)
    mask = (torch.rand(2, 64, 64) < 0.5).float()
    with torch.autocast("cpu", torch.bfloat16):
        half = built(mask, priors)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, built(mask, priors), atol=0, rtol=0)


# The classifier around it --------------------------------------------------------------------------------------------


class Trunk(nn.Module):
    """Features at half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 3, 2, 1)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return [pixels, self.layer(pixels).relu()]


def test_the_head_sees_the_features_and_the_context_as_one_more_channel() -> None:
    torch.manual_seed(3)
    net, priors = CausalNet(Trunk(), 5, 2, SIDE), dictionary(2)
    pixels = torch.randn(3, 3, 12, 16)
    maps = net.class_maps(pixels, masks(), priors)
    assert maps.shape == (3, 2, 6, 8)
    features = net.backbone(pixels)[-1]
    context = F.interpolate(net.predictor(masks(), priors)[:, None], (6, 8), mode="bilinear", align_corners=False)
    weights = net.classifier.weight[:, :, 0, 0]
    expected = torch.einsum("cd,bdhw->bchw", weights[:, :5], features) + weights[None, :, 5:, None] * context
    torch.testing.assert_close(maps, expected)
    # The mean of the maps is what a linear head behind the mean of all channels gives.
    pooled = torch.cat([features, context], 1).mean((2, 3))
    torch.testing.assert_close(net(pixels, masks(), priors), pooled @ weights.T)
