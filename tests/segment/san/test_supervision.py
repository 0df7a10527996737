"""Points, matching and losses of proposals, against plain loops, all permutations and torch's own resampling."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wildseg.segment.san import supervision
from wildseg.segment.san.matching import Weights, assign, costs
from wildseg.segment.san.points import Frame, draw, draw_undecided, look_up, sample
from wildseg.segment.san.supervision import Proposals, SetLoss, binary_cross_entropy, dice


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def plain_dice(logits: Tensor, target: Tensor) -> float:
    pairs = [(sigmoid(float(x)), float(t)) for x, t in zip(logits, target, strict=True)]
    both = sum(p * t for p, t in pairs)
    return 1 - (2 * both + 1) / (sum(p for p, _ in pairs) + sum(t for _, t in pairs) + 1)


def plain_entropy(logits: Tensor, target: Tensor) -> float:
    pairs = [(sigmoid(float(x)), float(t)) for x, t in zip(logits, target, strict=True)]
    return -sum(t * math.log(p) + (1 - t) * math.log(1 - p) for p, t in pairs) / len(pairs)


@pytest.mark.parametrize(
    ("pixels", "cells"), [((32, 48), (2, 3)), ((33, 20), (5, 4)), ((4, 4), (4, 4)), ((6, 6), (1, 1))]
)
def test_samples_are_the_pixels_of_an_enlarged_map(pixels: tuple[int, int], cells: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, *cells)
    points = torch.stack([torch.randint(size, (3, 40)) for size in pixels], -1)
    enlarged = functional.interpolate(maps[None], pixels, mode="bilinear", align_corners=False)[0]
    expected = torch.stack([one[at[:, 0], at[:, 1]] for one, at in zip(enlarged, points, strict=True)])
    for read in (sample, look_up):
        torch.testing.assert_close(read(maps, points, Frame(pixels, cells)), expected)
    shared = torch.stack([one[points[0, :, 0], points[0, :, 1]] for one in enlarged])
    torch.testing.assert_close(look_up(maps, points[:1], Frame(pixels, cells)), shared)


def test_points_are_drawn_from_labelled_pixels_alone_and_from_all_of_them() -> None:
    torch.manual_seed(0)
    labelled = torch.tensor([[0, 3], [2, 2], [5, 1]])
    points = draw(labelled, 4, 50)
    assert points.shape == (4, 50, 2)
    assert {tuple(point.tolist()) for point in points.flatten(0, 1)} == {(0, 3), (2, 2), (5, 1)}


def test_three_quarters_of_the_points_are_where_a_mask_is_undecided() -> None:
    torch.manual_seed(0)
    # A mask that is certain but for one of sixteen columns, which holds a sixteenth of the candidates.
    logits = torch.full((2, 4, 16), 9.0)
    logits[:, :, 5] = 0.1
    labelled = torch.ones(4, 16, dtype=torch.bool).nonzero()
    points = draw_undecided(logits, labelled, 1000, Frame((4, 16), (4, 16)))
    assert points.shape == (2, 1000, 2)
    share = (points[..., 1] == 5).float().mean(1)
    # All of some 3000 / 16 candidates, and a sixteenth of the 250 drawn at random.
    assert share.tolist() == pytest.approx([(3000 / 16 + 250 / 16) / 1000] * 2, abs=0.04)
    head = points[:, :750]
    assert (head[..., 1] == 5).float().mean() > 0.2
    assert (points[:, 750:, 1] == 5).float().mean() < 0.12


def test_costs_are_those_of_plain_loops() -> None:
    torch.manual_seed(0)
    classes, masks = torch.randn(4, 6), torch.randn(4, 9)
    present, target = torch.tensor([1, 4]), torch.randint(0, 2, (2, 9)).float()
    found = costs(classes, masks, present, target, Weights(2, 5, 3))
    for query in range(4):
        for place, index in enumerate(present.tolist()):
            share = math.exp(classes[query, index]) / sum(math.exp(x) for x in classes[query])
            entropy = plain_entropy(masks[query], target[place])
            expected = -2 * share + 5 * entropy + 3 * plain_dice(masks[query], target[place])
            assert float(found[query, place]) == pytest.approx(expected, rel=1e-5)


def test_the_assignment_is_the_cheapest_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        cost = torch.from_numpy(rng.normal(size=(5, 3)))
        rows, columns = assign(cost)
        best = min(
            sum(float(cost[row, column]) for column, row in enumerate(order)) for order in permutations(range(5), 3)
        )
        assert float(cost[rows, columns].sum()) == pytest.approx(best)
    assert [len(part) for part in assign(torch.rand(2, 4))] == [2, 2]  # more classes than proposals


def test_the_losses_of_masks_are_those_of_plain_loops_and_the_limits_hold() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(3, 7), torch.randint(0, 2, (3, 7)).float()
    expected = [plain_dice(x, t) for x, t in zip(logits, target, strict=True)]
    torch.testing.assert_close(dice(logits, target), torch.tensor(expected))
    entropy = [plain_entropy(x, t) for x, t in zip(logits, target, strict=True)]
    torch.testing.assert_close(binary_cross_entropy(logits, target), torch.tensor(entropy))
    certain = torch.where(target == 1, 200.0, -200.0)
    assert dice(certain, target).abs().max() < 1e-6
    assert float(dice(torch.full((1, 5), -200.0), torch.zeros(1, 5))) == 0


def perfect(target: Tensor, num_ids: int) -> Proposals:
    """Return proposals of an image (H, W) that are right: mask k is id k, and one more is no object."""
    ids = torch.arange(num_ids + 1)
    classes = torch.where(torch.eye(num_ids + 1) == 1, 30.0, 0.0)
    classes[~torch.isin(ids, target)] = torch.where(ids == num_ids, 30.0, 0.0)
    return Proposals(classes[None], torch.where(target == ids[:, None, None], 50.0, -50.0)[None])


def loss(**changes: object) -> SetLoss:
    settings = {"weights": Weights(), "points": 64, "pixels": (8, 8), "factors": None, "total": lambda mass: mass}
    return SetLoss(**{**settings, **changes})


def test_right_masks_of_right_classes_cost_nothing_in_any_order() -> None:
    torch.manual_seed(0)
    target = torch.randint(0, 3, (8, 8))
    target[:2] = 255
    right, order = perfect(target, 4), torch.tensor([3, 1, 4, 0, 2])
    for proposals in (right, Proposals(right.classes[:, order], right.masks[:, order])):
        terms = loss()(proposals, target[None])
        assert list(terms) == ["classes", "masks", "dice"]
        assert max(float(term) for term in terms.values()) < 1e-5
    wrong = Proposals(right.classes, right.masks[:, order])
    terms = loss()(wrong, target[None])  # pixels decide the matching, and the classes are wrong
    assert float(terms["masks"]) < 1e-5 < 1 < float(terms["classes"])


def test_terms_are_means_over_proposals_and_over_classes_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    target = torch.full((3, 8, 8), 255)
    target[0, :4], target[0, 4:], target[1, 2:5] = 0, 2, 1  # the third has no label
    proposals = Proposals(torch.randn(3, 4, 4), torch.randn(3, 4, 8, 8))
    everywhere = lambda labelled, masks, number: labelled[torch.arange(number) % len(labelled)].expand(masks, -1, -1)  # noqa: E731
    monkeypatch.setattr(supervision, "draw", everywhere)
    monkeypatch.setattr(supervision, "draw_undecided", lambda x, labelled, n, _: everywhere(labelled, len(x), n))
    factors = torch.tensor([0.5, 1.5, 2.0])
    # Points: each labelled pixel of the first image once, of the second, which has 24, 64 in turn.
    terms = loss(factors=factors)(proposals, target)
    entropy = overlap = summed = mass = 0.0
    for image, present in ((0, [0, 2]), (1, [1])):
        at = (target[image] != 255).nonzero()[torch.arange(64) % (64, 24)[image]]
        values = proposals.masks[image][:, at[:, 0], at[:, 1]]
        wanted = [(target[image][at[:, 0], at[:, 1]] == index).float() for index in present]
        shares = proposals.classes[image].softmax(-1)
        price = [
            [
                5 * plain_entropy(own, wanted[k]) + 5 * plain_dice(own, wanted[k]) - 2 * float(shares[q, index])
                for k, index in enumerate(present)
            ]
            for q, own in enumerate(values)
        ]
        orders = [(sum(price[q][k] for k, q in enumerate(qs)), qs) for qs in permutations(range(4), len(present))]
        chosen = min(orders)[1]
        entropy += sum(plain_entropy(values[q], wanted[k]) for k, q in enumerate(chosen))
        overlap += sum(plain_dice(values[q], wanted[k]) for k, q in enumerate(chosen))
        for query in range(4):
            index = present[chosen.index(query)] if query in chosen else 3
            factor = [0.5, 1.5, 2.0, 0.1][index]
            summed -= factor * float(shares[query, index].log())
            mass += factor
    assert float(terms["masks"]) == pytest.approx(5 * entropy / 3, rel=1e-5)
    assert float(terms["dice"]) == pytest.approx(5 * overlap / 3, rel=1e-5)
    assert float(terms["classes"]) == pytest.approx(2 * summed / mass, rel=1e-5)


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    target = torch.stack([torch.arange(8)[:, None].expand(8, 8) // 4, torch.full((8, 8), 2)])
    torch.manual_seed(0)
    proposals = Proposals(torch.randn(2, 4, 4), torch.zeros(2, 4, 2, 2))  # equal masks: points do not matter
    whole = loss()(proposals, target)
    totals: list[list[Tensor]] = []
    for image in range(2):
        seen: list[Tensor] = []
        loss(total=lambda mass, seen=seen: seen.append(mass) or mass)(
            Proposals(proposals.classes[image, None], proposals.masks[image, None]), target[image, None]
        )
        totals.append(seen)
    sums = [sum(parts) for parts in zip(*totals, strict=True)]
    summed = dict.fromkeys(whole, 0.0)
    for image in range(2):
        left = iter(sums)
        part = loss(total=lambda mass, left=left: next(left) + 0 * mass)(
            Proposals(proposals.classes[image, None], proposals.masks[image, None]), target[image, None]
        )
        summed = {name: summed[name] + float(term) for name, term in part.items()}
    # Points of the first image are drawn, so that shares of its classes differ a little.
    assert summed["classes"] == pytest.approx(float(whole["classes"]), rel=1e-5)
    assert summed["masks"] == pytest.approx(float(whole["masks"]), rel=1e-5)


def test_a_batch_without_labels_costs_nothing_and_can_be_differentiated() -> None:
    classes, masks = torch.randn(1, 4, 4, requires_grad=True), torch.randn(1, 4, 2, 2, requires_grad=True)
    terms = loss()(Proposals(classes, masks), torch.full((1, 8, 8), 255))
    total = sum(terms.values())
    total.backward()
    assert float(total.detach()) == 0
    assert not classes.grad.any()
    assert not masks.grad.any()
