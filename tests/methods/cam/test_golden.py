"""Numbers worked out on paper, and equalities between methods."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.cam.networks import MeanHead, written_trace
from wildseg.cam.maps import normalise
from wildseg.cam.record import record_module
from wildseg.cam.trace import Trace
from wildseg.core import lookup
from wildseg.encoders.attention_gradients import HeadGradients

A = [[[1, 2], [3, 4]], [[2, 0], [1, 1]]]
G = [[[0.1, 0.2], [0.3, 0.4]], [[-0.4, 0.2], [0, 0.2]]]


def cam(method: str, trace: Trace, **options: object) -> Tensor:
    return lookup.load("methods.cam", method).cam(trace, **options)


def close(found: Tensor, expected: Tensor | list, tolerance: float = 1e-6) -> None:
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("gradcam", [[0.25, 0.5], [0.75, 1]]),
        ("hirescam", [[0, 0.4], [0.9, 1.8]]),
        ("layercam", [[0.1, 0.4], [0.9, 1.8]]),
        ("gradcam_plusplus", [[0.495710, 0.419997], [0.772851, 0.982849]]),
        ("xgradcam", [[0, 0.6], [0.75, 1.05]]),
        ("eigencam", [[1.725422, 0.188762], [0, 0]]),  # without the change of sign: -1.73, -0.19, 0.48, 1.44
    ],
)
def test_golden_numbers(method: str, expected: list) -> None:
    close(cam(method, written_trace(A, G))[0], expected)


def rolled_out(attention: list[Tensor]) -> Tensor:
    trace = replace(written_trace([[[1, 2]]], [[[1, 2]]]), attention=tuple(attention))
    return cam("attention_rollout", trace)[0, 0]


def test_rollout_of_two_blocks() -> None:
    first = [[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]
    second = [[0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.5, 0.25, 0.25]]
    close(rolled_out([torch.tensor(first), torch.tensor(second)]), [0.3075, 0.1775])


def test_rollout_of_blocks_that_look_at_themselves_alone_shows_nothing() -> None:
    close(rolled_out([torch.eye(3)] * 4), [0, 0])


def test_rollout_of_blocks_that_look_everywhere_is_the_same_everywhere() -> None:
    close(rolled_out([torch.full((3, 3), 1 / 3)] * 4), [(1 - 2**-4) / 3] * 2)


def test_rollout_is_the_row_of_the_product_of_all_blocks() -> None:
    torch.manual_seed(0)
    blocks = [torch.rand(3, 3).softmax(-1) for _ in range(5)]
    product = torch.eye(3)
    for block in blocks:
        product = (block + torch.eye(3)) / 2 @ product
    close(rolled_out(blocks), product[0, 1:])


def test_rows_of_rollout_sum_to_one() -> None:
    torch.manual_seed(0)
    product = torch.eye(4)
    for _ in range(5):
        product = (torch.rand(4, 4).softmax(-1) + torch.eye(4)) / 2 @ product
    close(product.sum(1), torch.ones(4))


def relevance(gradient: float) -> Tensor:
    """Return Chefer's map of one block of one head, three tokens; the gradient at each output is the same."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 3, 4).double()
    block = HeadGradients(query, key, torch.ones(1, 3, 1).double(), torch.full((1, 1, 3, 1), gradient).double())
    trace = replace(written_trace([[[1, 2]]], [[[1, 2]]]), attention_backward=lambda _: iter([block]))
    close(cam("chefer", trace)[0, 0], (gradient * block.attention(0)).relu()[0, 1:])
    return cam("chefer", trace)


def test_chefer_of_one_block_is_the_identity_and_what_its_attention_carries() -> None:
    assert relevance(0.5).max() > 0


def test_chefer_where_no_gradient_is_positive_shows_nothing() -> None:
    assert not relevance(-0.5).any()


@pytest.mark.parametrize("channels", [3, 40])  # fewer and more than places
def test_eigencam_is_the_first_right_singular_vector_applied(channels: int) -> None:
    torch.manual_seed(1)
    activations = torch.randn(channels, 4, 5, dtype=torch.float64)
    places = activations.flatten(1).T - activations.flatten(1).T.mean(0)
    _, _, right = torch.linalg.svd(places, full_matrices=False)
    expected = places @ right[0]
    expected = expected if expected.max() > -expected.min() else -expected
    found = cam("eigencam", written_trace(activations.tolist(), activations.tolist()))[0]
    close(found, expected.relu().reshape(4, 5), 1e-5)


def test_eigencam_of_places_whose_mean_is_exactly_zero() -> None:
    half = torch.randint(-3, 4, (90, 6, 6), generator=torch.Generator().manual_seed(0)).float()
    activations = torch.cat([half, -half], 2)  # (90, 6, 12): more channels than places
    places = activations.flatten(1).T.double()
    expected = (places @ torch.linalg.svd(places, full_matrices=False)[2][0]).reshape(6, 12)
    found = cam("eigencam", written_trace(activations.tolist(), activations.tolist()))[0].double()
    # Both signs have the same largest magnitude, so either may be taken.
    assert min((found - signed.relu()).abs().max() for signed in (expected, -expected)) < 1e-3


def test_eigencam_of_one_pattern_in_all_channels_is_that_pattern_without_its_mean() -> None:
    pattern, factors = torch.tensor([[4.0, 0.0, 1.0]]), torch.tensor([1.0, -2.0, 2.0])
    activations = (factors[:, None, None] * pattern).tolist()
    close(cam("eigencam", written_trace(activations, activations))[0], 3 * (pattern - pattern.mean()).relu(), 1e-5)


def mean_head_trace(classes: int = 4, seed: int = 0) -> tuple[MeanHead, Trace]:
    torch.manual_seed(seed)
    network = MeanHead(classes).double()
    pixels = torch.randn(1, 3, 6, 8, dtype=torch.float64)
    return network, record_module(network, network.features, pixels, range(classes), head=network.head.weight.detach())


def test_behind_a_mean_and_a_linear_head_cam_gradcam_and_hirescam_are_the_same() -> None:
    network, trace = mean_head_trace()
    by_hand = torch.einsum("kc,chw->khw", network.head.weight, trace.activations[0]).relu()
    close(cam("cam", trace), by_hand.detach(), 1e-12)
    close(cam("gradcam", trace) * 48, by_hand.detach(), 1e-12)
    close(cam("hirescam", trace) * 48, by_hand.detach(), 1e-12)
    close(cam("xgradcam", trace) * 48, by_hand.detach(), 1e-4)  # up to the 1e-7 that it divides by more


def test_there_the_gradient_is_the_weight_over_the_number_of_places() -> None:
    network, trace = mean_head_trace()
    close(trace.gradients(), (network.head.weight / 48)[:, :, None, None].expand(-1, -1, 6, 8).detach(), 1e-15)


def test_layercam_is_hirescam_where_no_gradient_is_negative() -> None:
    trace = written_trace(A, [[[0.1, 0], [0.3, 0.4]], [[0.4, 0.2], [0, 0.2]]])
    close(cam("layercam", trace), cam("hirescam", trace), 1e-15)


def test_layercam_is_elementwise_gradcam_where_no_activation_is_negative() -> None:
    elementwise = (torch.tensor(A, dtype=torch.float64) * torch.tensor(G, dtype=torch.float64)).relu().sum(0)
    close(cam("layercam", written_trace(A, G))[0], elementwise, 1e-15)


def test_gradcam_is_hirescam_whenever_the_gradient_is_the_same_everywhere() -> None:
    trace = written_trace(A, [[[0.3, 0.3], [0.3, 0.3]], [[-0.1, -0.1], [-0.1, -0.1]]])
    close(cam("gradcam", trace), cam("hirescam", trace), 1e-15)


def test_gradcam_plusplus_weights_behind_a_mean_and_a_linear_head() -> None:
    network, trace = mean_head_trace()
    gradient = network.head.weight.detach() / 48  # (K, C)
    sums = trace.activations.sum((0, 2, 3))
    # 48 equal terms; 1e-6 is the method's own guard, worth stating where gradients are this small
    weights = 48 * gradient.relu() * gradient**2 / (2 * gradient**2 + sums * gradient**3 + 1e-6)
    close(cam("gradcam_plusplus", trace), torch.einsum("kc,chw->khw", weights, trace.activations[0]).relu(), 1e-12)


def test_gradcam_plusplus_with_one_channel_is_gradcam_after_normalising() -> None:
    trace = written_trace([A[0]], [[[0.3, 0.3], [0.3, 0.3]]])
    close(normalise(cam("gradcam_plusplus", trace)), normalise(cam("gradcam", trace)), 1e-6)


def test_gradcam_plusplus_stays_finite_where_its_denominator_vanishes() -> None:
    # 2 g^2 + S g^3 + 1e-6 = 0 at g = 1/2 for S = -4 - 8e-6
    trace = written_trace([[[-4 - 8e-6, 0], [0, 0]]], [[[0.5, 0.5], [0.5, 0.5]]])
    assert torch.isfinite(cam("gradcam_plusplus", trace)).all()


@pytest.mark.parametrize("weighting", ["mean", "none"])
def test_the_map_of_a_probability_follows_from_the_maps_of_the_logits(weighting: str) -> None:
    torch.manual_seed(1)
    network = MeanHead(5).double()
    trace = record_module(network, network.features, torch.randn(1, 3, 6, 8, dtype=torch.float64), range(5))

    def signed(gradients: Tensor) -> Tensor:
        weights = gradients.mean((2, 3), keepdim=True) if weighting == "mean" else gradients
        return (weights * trace.activations).sum(1)

    of_logits = signed(trace.gradients())
    probabilities = trace.gradients(lambda logits, classes: logits.softmax(-1)[range(5), list(classes)])
    p = network.head(trace.activations.mean((2, 3)))[0].softmax(-1).detach()[:, None, None]
    close(signed(probabilities), p * (of_logits - (p * of_logits).sum(0)), 1e-15)
    close(signed(probabilities).sum(0), torch.zeros(6, 8), 1e-15)
    of_logs = trace.gradients(lambda logits, classes: logits.log_softmax(-1)[range(5), list(classes)])
    close(signed(of_logs), signed(probabilities) / p, 1e-14)


def test_of_layercam_and_gradcam_plusplus_nothing_of_the_kind_holds() -> None:
    torch.manual_seed(1)
    network = MeanHead(5).double()
    trace = record_module(network, network.features, torch.randn(1, 3, 6, 8, dtype=torch.float64), range(5))
    p = network.head(trace.activations.mean((2, 3)))[0].softmax(-1).detach()[:, None, None]

    def probability(logits: Tensor, classes: object) -> Tensor:
        return logits.softmax(-1)[range(5), list(classes)]

    soft = replace(trace, backward=lambda _target, pool: trace.backward(probability, pool))
    for weighted in (
        lambda g, a: (g.relu() * a).sum(1),  # LayerCAM before its relu
        lambda g, a: ((g.relu() * g**2 / (2 * g**2 + a.sum((2, 3), keepdim=True) * g**3)).sum((2, 3), True) * a).sum(1),
    ):
        of_logits = weighted(trace.gradients(), trace.activations)
        found = weighted(soft.gradients(), trace.activations)
        assert (found - p * (of_logits - (p * of_logits).sum(0))).abs().max() > 1e-3 * found.abs().max()


def test_two_classes_with_equal_logits_keep_a_quarter_of_their_difference() -> None:
    _, trace = mean_head_trace(2)

    def equal(logits: Tensor, classes: object) -> Tensor:
        return (logits - logits.detach()).softmax(-1)[[0, 1], [0, 1]]

    signed = (trace.gradients(equal).mean((2, 3), keepdim=True) * trace.activations).sum(1)
    logit = (trace.gradients().mean((2, 3), keepdim=True) * trace.activations).sum(1)
    close(signed[0], 0.25 * (logit[0] - logit[1]), 1e-15)
    close(signed[1], -signed[0], 1e-15)


def test_normalising_stretches_from_zero_to_one_and_leaves_a_constant_map_empty() -> None:
    maps = normalise(torch.tensor([[[2.0, 3.0], [4.0, 6.0]], [[5.0, 5.0], [5.0, 5.0]]]))
    close(maps, [[[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]])
