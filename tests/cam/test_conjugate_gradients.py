"""Conjugate gradients against a direct solver."""

from __future__ import annotations

import numpy as np

from wildseg.cam.conjugate_gradients import solve

GENERATOR = np.random.default_rng(0)
HALF = GENERATOR.standard_normal((8, 8))
MATRIX = HALF @ HALF.T + np.eye(8)
RIGHT = GENERATOR.standard_normal((3, 8))


def product(values: np.ndarray) -> np.ndarray:
    return (values.reshape(len(values), 8) @ MATRIX).reshape(values.shape)


def test_as_many_steps_as_unknowns_solve_the_system() -> None:
    found = solve(product, RIGHT, np.zeros((3, 8)), 8)
    np.testing.assert_allclose(found, np.linalg.solve(MATRIX, RIGHT.T).T, atol=1e-8)


def test_any_shape_behind_the_first_axis_is_a_vector() -> None:
    found = solve(product, RIGHT.reshape(3, 2, 4), np.zeros((3, 2, 4)), 5)
    np.testing.assert_allclose(found.reshape(3, 8), solve(product, RIGHT, np.zeros((3, 8)), 5))


def test_a_right_hand_side_is_solved_the_same_alone_and_among_others() -> None:
    together = solve(product, RIGHT * [[1], [1e6], [0]], np.zeros((3, 8)), 3)
    np.testing.assert_allclose(together[:1], solve(product, RIGHT[:1], np.zeros((1, 8)), 3), rtol=1e-12)
    assert not together[2].any()


def test_what_is_solved_already_stays() -> None:
    solution = np.linalg.solve(MATRIX, RIGHT.T).T
    np.testing.assert_allclose(solve(product, RIGHT, solution, 50), solution, atol=1e-10)
    assert np.isfinite(solve(product, RIGHT, np.zeros((3, 8)), 500)).all()


def test_the_search_ends_at_the_tolerance() -> None:
    products = []

    def counted(values: np.ndarray) -> np.ndarray:
        products.append(1)
        return product(values)

    found = solve(counted, RIGHT, np.zeros((3, 8)), 100, tolerance=0.5)
    assert (np.linalg.norm(product(found) - RIGHT, axis=1) <= 0.5 * np.linalg.norm(RIGHT, axis=1)).all()
    assert len(products) < 8
