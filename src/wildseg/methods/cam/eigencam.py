"""EigenCAM (Muhammad and Yeasin 2020): the activations along their first principal direction.

``X = A`` as (h*w, C) without each channel's mean, ``L = relu(+-X v_1)`` with ``v_1`` its first right singular vector.
The same map for every class. A direction has no sign: the one is taken under which the largest magnitude is positive.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor

from wildseg.cam.trace import Trace

NEEDS: frozenset[str] = frozenset()
CLASS_AGNOSTIC = True

FEW = 64  # rows of a matrix of which all eigenvectors cost next to nothing


def cam(trace: Trace) -> Tensor:
    """Return K times the same map, (K, h, w), not normalised."""
    _, channels, height, width = trace.activations.shape
    places = trace.activations[0].reshape(channels, -1).T  # (h*w, C)
    places = places - places.mean(0)
    # By the smaller of the two Gram matrices, so that a large frame costs C x C numbers and not N x N.
    if channels <= len(places):
        projected = places @ _largest(places.T @ places)
    else:
        gram = places @ places.T
        projected = gram @ _largest(gram)  # X X^T u_1 is along u_1 s_1 = X v_1
        projected = projected / projected.norm().clamp_min(torch.finfo(projected.dtype).tiny).sqrt()
    if -projected.min() > projected.max():
        projected = -projected
    return projected.relu().reshape(1, height, width).expand(len(trace.classes), -1, -1)


def _largest(gram: Tensor) -> Tensor:
    """Return the unit eigenvector (n,) of the largest eigenvalue of a symmetric matrix (n, n) without negative ones."""
    matrix = gram.double().cpu().numpy()
    if len(matrix) <= FEW or not matrix.any():
        vector = np.linalg.eigh(matrix)[1][:, -1]
    else:
        # One of many hundreds by Lanczos' method: a tenth of the time of all of them. Its start is fixed, but not ones:
        # the matrix of centred places takes them to zero.
        start = np.random.default_rng(0).standard_normal(len(matrix))
        vector = eigsh(matrix, k=1, v0=start)[1][:, 0]
    return torch.from_numpy(vector.copy()).to(gram)
