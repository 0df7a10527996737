"""The bank: neighbours as brute force finds them, golden numbers, and what a region is named by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from wildseg.cam import memory
from wildseg.cam.memory import Bank, Origin, fuse, nearest, shares, support

ALL3 = np.ones(3, bool)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def bank(number: int = 60, seed: int = 0, frames: int = 6) -> Bank:
    rng = np.random.default_rng(seed)
    keys, values = (unit(rng.normal(size=(number, 5))).astype(np.float16) for _ in range(2))
    origins = tuple(Origin(f"drive_{i:06d}", "drive", float(i)) for i in range(frames))
    owners = np.sort(rng.integers(0, frames, number)).astype(np.int32)
    return Bank(keys, values, np.full(number, 0.1, np.float32), owners, origins)


def shuffled(own: Bank, order: np.ndarray) -> Bank:
    return Bank(own.keys[order], own.values[order], own.areas[order], own.owners[order], own.frames)


def test_golden_numbers() -> None:
    keys, values = np.array([[1, 0], [0.8, 0.6], [0, 1]]), np.array([[1, 0], [0.6, 0.8], [0, 1]])
    query = np.array([[0.9, 0.435890]])
    np.testing.assert_allclose(query @ keys.T, [[0.9, 0.981534, 0.435890]], atol=1e-6)
    found = nearest(query, keys, ALL3, np.arange(3), 2)
    assert found.tolist() == [[1, 0]]
    s = support(values, found)
    np.testing.assert_allclose(s, [[0.894427, 0.447214]], atol=1e-6)
    np.testing.assert_allclose(fuse(np.array([0.55, 0.60]), s[0] @ np.eye(2), 0.5), [0.722214, 0.523607], atol=1e-6)


def test_one_neighbour_and_the_query_in_the_bank_give_its_own_value() -> None:
    own = bank()
    found = nearest(own.keys[7:8], own.keys, np.ones(len(own), bool), own.ranks, 1)
    np.testing.assert_allclose(support(own.values, found), unit(own.values[7:8].astype(np.float64)), atol=1e-7)


@pytest.mark.parametrize("number", [1, 4, 100])
def test_neighbours_are_those_of_brute_force(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "BLOCK", 7)  # several blocks, the last of them smaller
    own, queries = bank(), unit(np.random.default_rng(5).normal(size=(4, 5)))
    allowed = np.random.default_rng(6).random(len(own)) < 0.6
    found = nearest(queries, own.keys, allowed, own.ranks, number)
    for row, query in zip(found, queries, strict=True):
        candidates = [i for i in range(len(own)) if allowed[i]]
        products = {i: float(sum(a * float(b) for a, b in zip(query, own.keys[i], strict=True))) for i in candidates}
        assert row.tolist() == sorted(candidates, key=lambda i, at=products: -at[i])[:number]


def test_the_order_of_the_bank_is_irrelevant_also_where_neighbours_are_equally_near() -> None:
    own = bank(24)
    own = replace(own, keys=np.repeat(own.keys[:6], 4, axis=0))  # of each key four, with unlike values
    queries = own.keys[[0, 9, 20]]
    expected = support(own.values, nearest(queries, own.keys, np.ones(24, bool), own.ranks, 6))
    for seed in range(5):
        other = shuffled(own, np.random.default_rng(seed).permutation(24))
        found = support(other.values, nearest(queries, other.keys, np.ones(24, bool), other.ranks, 6))
        np.testing.assert_array_equal(found, expected)
    without_ranks = shuffled(own, np.arange(24)[::-1])
    wrong = support(without_ranks.values, nearest(queries, without_ranks.keys, np.ones(24, bool), np.arange(24), 6))
    assert abs(wrong - expected).max() > 0.01  # or ties would decide nothing here


def test_where_nothing_is_allowed_there_is_no_neighbour() -> None:
    own = bank()
    assert nearest(own.keys[:2], own.keys, np.zeros(len(own), bool), own.ranks, 20).shape == (2, 0)


@pytest.mark.parametrize(
    ("origin", "left_out"),
    [
        (Origin("drive_000002", "drive", 2.0), {0, 1, 2, 3, 4}),  # two seconds, both ends included
        (Origin("drive_000002", "other", 2.0), {2}),  # its own name alone
        (Origin("new", "drive", 5.5), {4, 5}),
        (Origin("new", "drive", None), set()),  # a photo has no time
        (Origin("drive_000004", "drive", None), {4}),
    ],
)
def test_its_own_frame_and_those_of_its_source_nearby_are_left_out(origin: Origin, left_out: set[int]) -> None:
    own = bank()
    elsewhere = own.elsewhere(origin, 2.0)
    assert set(own.owners[~elsewhere].tolist()) == left_out & set(own.owners.tolist())


def test_shares_are_the_softmax_over_present_classes_and_background_phrases() -> None:
    rng = np.random.default_rng(0)
    texts, supports = unit(rng.normal(size=(5, 4))), unit(rng.normal(size=(3, 4)))
    found = shares(supports, texts, [2, 0], 3, 40.0)
    logits = 40 * torch.from_numpy(supports) @ torch.from_numpy(texts).T
    np.testing.assert_allclose(found, logits[:, [2, 0, 3, 4]].softmax(1)[:, :2].numpy(), rtol=1e-9)
    alone = shares(supports, texts[:3], [1], 3, 40.0)
    np.testing.assert_allclose(alone, logits[:, :3].softmax(1)[:, 1:2].numpy(), rtol=1e-9)


def test_in_a_bank_of_one_class_every_region_gets_its_score() -> None:
    own = bank()
    own = replace(own, values=np.tile(np.array([[0.6, 0.8, 0, 0, 0]], np.float16), (len(own), 1)))
    found = support(own.values, nearest(bank(9, 1).keys, own.keys, np.ones(len(own), bool), own.ranks, 20))
    np.testing.assert_allclose(found, np.tile([[0.6, 0.8, 0, 0, 0]], (9, 1)), atol=1e-3)
