"""Softmax-Grad-CAM (CLIP-ES, Lin et al. 2023, section 3.1): Grad-CAM of a class's probability among competitors.

With ``L_j`` the map of logit j before the relu and ``p = softmax(logits)``, the map of ``p_c`` is
``p_c (L_c - sum_j p_j L_j)``: what speaks for competitors is taken away. The target here is the log odds
``log(p_c / (1 - p_c)) = z_c - log(sum_(j != c) exp(z_j))``. Its map is the same but for the factor ``p_c (1 - p_c)``,
in which all would drown where the model is sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wildseg.cam.competition import columns
from wildseg.cam.maps import normalise
from wildseg.cam.trace import Trace
from wildseg.core.errors import one_of

NEEDS = frozenset({"gradients", "competition"})


def cam(
    trace: Trace,
    *,
    competitors: Literal["present", "all"] = "present",
    pool: Literal["auto", "patches", "model"] = "auto",
    target: Literal["log_odds", "probability"] = "log_odds",
    normalise_twice: bool = False,
) -> Tensor:
    """Return maps (K, h, w), not normalised.

    Args:
        trace: the recorded pass.
        competitors: which other texts share the softmax beside background phrases: the classes ``present`` in the
            frame, as in CLIP-ES, or ``all`` classes.
        pool: ``patches`` takes the mean over patches, as in CLIP-ES, ``model`` pools as the model was trained to;
            ``auto``: by patches, unless the weights declare that they were taught with captions of regions.
        target: ``log_odds``, or ``probability``, as in the published code.
        normalise_twice: stretch maps to [0, 1] once more than every method's are, as in the published code; it shows
            only where all of a map is near 1e-7.

    Raises:
        ParamsError: an option's value means nothing, or nothing competes.
    """
    one_of("cam.options.softmax_gradcam.pool", pool, ("auto", "patches", "model"))
    one_of("cam.options.softmax_gradcam.target", target, ("log_odds", "probability"))

    def score(logits: Tensor, classes: Sequence[int]) -> Tensor:
        shared = columns(trace, logits.shape[1], competitors, "softmax_gradcam")
        rows, own = torch.arange(len(classes)), [shared.index(c) for c in classes]
        competing = logits[:, shared]
        if target == "probability":
            return competing.softmax(-1)[rows, own]
        others = competing.clone()
        others[rows, own] = -torch.inf
        return competing[rows, own] - others.logsumexp(-1)

    gradients = trace.gradients(score, trace.default_pool if pool == "auto" else pool)
    weights = gradients.mean((2, 3), keepdim=True)  # (K, C, 1, 1)
    maps = (weights * trace.activations).sum(1).relu()
    return normalise(maps) if normalise_twice else maps
