"""Evidence maps of a segmentation network: at a layer, for a class and a set of pixels M.

The map is computed by a method of `methods/cam`, unchanged: `gradcam` gives Seg-Grad-CAM (Vinogradova et al. 2020),
`hirescam` the same without spatial averaging of the gradient (Draelos and Carin 2020). They differ most where M is one
pixel: the averaged gradient highlights everything similar to it, wherever it is; without averaging the map stays inside
the receptive field.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wildseg.cam.maps import normalise
from wildseg.cam.record import record_module
from wildseg.cam.trace import Trace
from wildseg.segment.anysize import AnySize
from wildseg.segment.explain.regions import RegionSum


def record(network: nn.Module, layer: str, pixels: Tensor, region: Tensor, channel: int) -> Trace:
    """Record the trace of one frame at a layer, for the sum of a channel's logits over M.

    Args:
        network: from (1, 3, H, W) to logits (1, C, H, W); it is left unchanged.
        layer: name of a module that runs once and returns one tensor (1, K, h, w).
        pixels: (1, 3, H, W), normalised.
        region: M, (H, W) in [0, 1].
        channel: of the logits.
    """
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return record_module(RegionSum(network, region), network.get_submodule(layer), pixels, (channel,))


def evidence_map(trace: Trace, method: ModuleType, padded: tuple[int, int]) -> Tensor:
    """Return the evidence for the class, (H, W) float32 in [0, 1]; zero everywhere for an empty M.

    Args:
        trace: of `record`.
        method: a module of `methods/cam` that needs gradients only.
        padded: the size that the layer's grid covers, see `grid_covers`.
    """
    raw = method.cam(trace)  # (1, h, w), >= 0
    # The gradient averaged over a large grid may be as small as the epsilon of `normalise`, which must not dim the map.
    raw = raw / raw.amax().clamp_min(torch.finfo(raw.dtype).tiny)
    height, width = trace.size
    large = F.interpolate(normalise(raw)[None], padded, mode="bilinear", align_corners=False)[0]
    return normalise(large[:, :height, :width])[0]


def grid_covers(network: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (H', W') that every layer's grid covers for a frame (H, W): the padded frame."""
    return network.padded_size(*size) if isinstance(network, AnySize) else size
