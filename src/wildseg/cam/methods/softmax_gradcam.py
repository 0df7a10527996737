"""Softmax-Grad-CAM (CLIP-ES, Lin et al. 2023, section 3.1): Grad-CAM of a class's probability among competitors.

With ``L_j`` the map of logit j before the relu and ``p = softmax(logits)``, the map of ``p_c`` is
``p_c (L_c - sum_j p_j L_j)``: what speaks for competitors is taken away. The target here is ``log p_c``, whose map is
the same but for the factor ``p_c``; where the model is sure, ``p_c (1 - p_c)`` would drown in rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wildseg.cam.trace import Trace
from wildseg.errors import ParamsError, did_you_mean

NEEDS = frozenset({"gradients"})


def cam(trace: Trace, *, competitors: str = "present", pool: str = "model") -> Tensor:
    """Return maps (K, h, w), not normalised.

    Args:
        trace: the recorded pass.
        competitors: which other texts share the softmax beside background phrases: the classes ``present`` in the
            frame, as in CLIP-ES, or ``all`` classes.
        pool: ``model`` pools as the model was trained to, ``patches`` takes the mean over patches, as in CLIP-ES.

    Raises:
        ParamsError: an option's value means nothing.
    """
    _one_of("competitors", competitors, ("present", "all"))
    _one_of("pool", pool, ("model", "patches"))

    def log_probability(logits: Tensor, classes: Sequence[int]) -> Tensor:
        everything = range(logits.shape[1])
        columns = [c for c in everything if competitors == "all" or c in classes or c >= trace.num_classes]
        rows, own = torch.arange(len(classes)), [columns.index(c) for c in classes]
        return logits[:, columns].log_softmax(-1)[rows, own]

    weights = trace.gradients(log_probability, pool).mean((2, 3), keepdim=True)  # (K, C, 1, 1)
    return (weights * trace.activations).sum(1).relu()


def _one_of(option: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParamsError(
            f"cam.options.softmax_gradcam.{option}: expected one of {', '.join(known)}; "
            f"found {value!r}{did_you_mean(value, known)}"
        )
