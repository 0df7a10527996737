"""Sigmoid contrastive loss between regions and texts, silent where the truth is ambiguous.

For a region r and a text t that names the surfaces S_t, with z = scale * cos(r, t) + bias:
the pair is positive if every surface in S_t is visible in r, negative if one of them is absent, and left out
otherwise (a surface that covers a few per cent of r is neither worth naming nor wrong to name).
"""

from torch import Tensor
from torch.nn import functional as F


def pair_targets(visible: Tensor, absent: Tensor, named: Tensor) -> tuple[Tensor, Tensor]:
    """Which region-text pairs match, and which can be judged.

    Args:
        visible: (R, K) bool, surfaces that a caption of the region should name.
        absent: (R, K) bool, surfaces that it must not name.
        named: (T, K) bool, surfaces that a text names.

    Returns:
        (R, T) bool each: match, judged.
    """
    names = named.float().T
    match = (~visible).float() @ names == 0
    mismatch = absent.float() @ names > 0
    return match, match | mismatch


def region_text_loss(
    regions: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, targets: tuple[Tensor, Tensor]
) -> Tensor:
    """Mean binary cross-entropy over judged pairs.

    Args:
        regions: (R, D), not normalised.
        texts: (T, D), not normalised.
        scale: factor on the cosine.
        bias: added to it.
        targets: of `pair_targets`.

    Returns:
        A scalar. The mean is over all pairs, so that a batch with few judged pairs also weighs little.
    """
    match, judged = targets
    logits = F.normalize(regions, dim=-1) @ F.normalize(texts, dim=-1).T * scale + bias
    return F.binary_cross_entropy_with_logits(logits, match.float(), weight=judged.float())
