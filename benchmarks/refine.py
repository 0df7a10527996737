"""Refinement of maps by `propagate`, against SciPy's solvers of the same sparse system."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg, splu

from benchmarks.timing import Result, compare
from wildseg.cam import propagation

GRID, CLASSES = (80, 107), 10
KAPPA, TAU, STEPS = 2.0, 1.0, 25
RUNS = 21


def measure() -> Iterator[Result]:
    """Yield the time of the maps of a frame: our conjugate gradients, and SciPy's, iterative and direct."""
    generator = np.random.default_rng(0)
    maps, grey = generator.random((CLASSES, *GRID)), generator.random(GRID) * 255
    ours = partial(propagation.propagate, maps, grey, KAPPA, TAU, STEPS)
    for name, peer in (("cg, a class at a time", _iterative), ("splu, all classes", _direct)):
        label = f"propagate, {CLASSES} maps on {GRID[1]}x{GRID[0]} cells, a frame"
        yield compare(label, ours, partial(peer, maps, grey), f"scipy.sparse.linalg.{name}", runs=RUNS)


def _iterative(maps: np.ndarray, grey: np.ndarray) -> np.ndarray:
    system, right = _system(maps, grey)
    pairs = zip(right, maps.reshape(CLASSES, -1), strict=True)
    return np.stack([cg(system, one, start, rtol=0, atol=0, maxiter=STEPS)[0] for one, start in pairs])


def _direct(maps: np.ndarray, grey: np.ndarray) -> np.ndarray:
    system, right = _system(maps, grey)
    return splu(system.tocsc()).solve(np.ascontiguousarray(right.T)).T


def _system(maps: np.ndarray, grey: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
    """Return the matrix (N, N) and the right-hand sides (K, N) of all classes."""
    probabilities = propagation.softmax(maps)
    confidence = propagation.data_term(probabilities)
    right, down = propagation.edge_weights(grey, probabilities, KAPPA)
    cells = np.arange(confidence.size).reshape(confidence.shape)
    own = np.concatenate([cells[:, :-1].ravel(), cells[:-1].ravel()])
    other = np.concatenate([cells[:, 1:].ravel(), cells[1:].ravel()])
    weights = sparse.coo_array((np.concatenate([right.ravel(), down.ravel()]), (own, other)), (cells.size,) * 2)
    both = (weights + weights.T).tocsr()
    diagonal = confidence.ravel() + TAU * both.sum(axis=1)
    return (sparse.diags_array(diagonal) - TAU * both).tocsr(), (confidence * maps).reshape(CLASSES, -1)
