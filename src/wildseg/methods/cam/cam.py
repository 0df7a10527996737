"""CAM (Zhou et al. 2016): the weights of a linear classifier behind a mean, applied at each place before the mean.

``L_c = relu(sum_k W_ck A_k)``. A CLIP model that averages its patches is such a classifier, of which the texts are the
weights; one that pools its class token is not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wildseg.cam.trace import Trace
from wildseg.core.errors import ModelError

NEEDS = frozenset({"head"})


def cam(trace: Trace) -> Tensor:
    """Return maps (K, h, w), not normalised.

    Raises:
        ModelError: what lies behind the target layer is not a mean and a linear classifier.
    """
    if trace.head is None:
        raise ModelError(
            "cam.method: cam reads the weights of a linear classifier behind a mean, which this network does not end "
            "with; use gradcam, which gives the same map where both exist"
        )
    return torch.einsum("kc,chw->khw", trace.head[list(trace.classes)], trace.activations[0]).relu()
