"""Labels of bins and the focal loss of PCAA, against loops and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wildseg.segment.pcaa.supervision import bin_labels, focal


def same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


@pytest.mark.parametrize(("pixels", "label"), [(0, 0), (1, 255), (2, 1), (3, 1), (200, 1)])
def test_a_class_on_less_than_one_percent_of_a_bin_is_undecided(pixels: int, label: int) -> None:
    mask = torch.zeros(1, 10, 20, dtype=torch.long)  # 200 pixels: one is 0.5 %
    mask.view(-1)[:pixels] = 1
    assert bin_labels(mask, 2, (1, 1))[0, 0, 1] == label


def test_labels_equal_a_count_in_loops() -> None:
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, 2, 3, 255], (2, 24, 36), p=[0.5, 0.3, 0.01, 0.0, 0.19])
    mask[1, :12, :12] = 255  # a bin without a label
    found = bin_labels(torch.from_numpy(mask), 4, (2, 3))
    for image in range(2):
        for row in range(2):
            for column in range(3):
                block = mask[image, row * 12 : row * 12 + 12, column * 12 : column * 12 + 12]
                labelled = (block != 255).sum()
                for k in range(4):
                    number = (block == k).sum()
                    expected = 255 if not labelled or 0 < number < 0.01 * labelled else int(number > 0)
                    assert found[image, row * 3 + column, k] == expected
    assert set(found.unique().tolist()) == {0, 1, 255}


def test_pixels_without_a_label_are_no_evidence_against_a_class() -> None:
    mask = torch.full((1, 4, 8), 255)
    mask[0, 0, 4] = 1
    left, right = bin_labels(mask, 2, (1, 2))[0].tolist()
    assert left == [255, 255]  # nothing is known
    assert right == [0, 1]  # all that is labelled is of class 1


def test_the_focal_loss_by_hand() -> None:
    logit = torch.tensor(math.log(9), dtype=torch.float64)  # p = 0.9
    one = focal(logit.reshape(1, 1, 1), torch.ones(1, 1, 1).long(), same)
    assert one.item() == pytest.approx(0.00105361, abs=5e-9)
    zero = focal(-logit.reshape(1, 1, 1), torch.zeros(1, 1, 1).long(), same)
    assert zero.item() == pytest.approx(one.item())


def test_without_focus_it_is_the_binary_cross_entropy() -> None:
    logits = torch.randn(3, 4, 1, dtype=torch.float64)
    labels = torch.randint(0, 2, (3, 4, 1))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.double())
    torch.testing.assert_close(focal(logits, labels, same, gamma=0), expected)


def test_it_is_the_mean_over_classes_of_means_and_leaves_out_what_is_undecided() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 255])[torch.randint(0, 3, (3, 4, 5), generator=generator)]
    labels[..., 2] = 255  # nothing is known of this class
    means = []
    for k in (0, 1, 3, 4):
        values = []
        for logit, label in zip(logits[..., k].flatten().tolist(), labels[..., k].flatten().tolist(), strict=True):
            if label != 255:
                p = 1 / (1 + math.exp(-logit))
                p = p if label == 1 else 1 - p
                values.append(-((1 - p) ** 2) * math.log(p))
        means.append(sum(values) / len(values))
    assert focal(logits, labels, same).item() == pytest.approx(sum(means) / 4)


def test_where_nothing_is_known_it_is_zero_and_so_are_its_gradients() -> None:
    logits = torch.randn(2, 4, 3, requires_grad=True)
    loss = focal(logits, torch.full((2, 4, 3), 255), same)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_scores_that_are_certain_and_wrong_have_a_finite_loss() -> None:
    logits = torch.tensor([1e4, -1e4]).reshape(1, 2, 1).requires_grad_()
    loss = focal(logits, torch.tensor([0, 1]).reshape(1, 2, 1), same)
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert torch.isfinite(logits.grad).all()


def test_the_parts_of_several_processes_add_up_to_the_whole() -> None:
    logits, labels = (
        torch.randn(4, 2, 3, dtype=torch.float64),
        torch.tensor([0, 1, 255])[torch.randint(0, 3, (4, 2, 3))],
    )
    number = (labels != 255).sum((0, 1)).double()
    parts = [focal(logits[part], labels[part], lambda _: number) for part in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(sum(parts), focal(logits, labels, same))
