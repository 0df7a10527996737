"""From a layer of a segmentation network and a set of pixels to a map over the frame: what there speaks for a class.

Which map is the matter of a method of `cam/methods`, which is told nothing of segmentation: with `gradcam` it is
Seg-Grad-CAM (Vinogradova et al. 2020), with `hirescam` the same without averaging the gradient over places (Draelos and
Carin 2020). The difference shows most where M is one pixel: averaged, the gradient lights up all that looks like it,
wherever it is; not averaged, the map stays inside the receptive field.
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
    """Record one frame in front of the sum of a channel's logits over M, at a layer.

    Args:
        network: from (1, 3, H, W) to logits (1, C, H, W); nothing is left behind on it.
        layer: name of a module that is called once and returns one tensor (1, K, h, w).
        pixels: (1, 3, H, W), normalised.
        region: M, (H, W) in [0, 1].
        channel: of the logits.
    """
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return record_module(RegionSum(network, region), network.get_submodule(layer), pixels, (channel,))


def evidence_map(trace: Trace, method: ModuleType, padded: tuple[int, int]) -> Tensor:
    """Return what speaks for the class, (H, W) float32 in [0, 1]; zero where nothing does, as for an empty M.

    Args:
        trace: of `record`.
        method: a module of cam/methods that needs gradients only.
        padded: the size that the layer's grid covers, see `grid_covers`.
    """
    raw = method.cam(trace)  # (1, h, w), >= 0
    # Averaged over a large grid a gradient may be as small as the epsilon of `normalise`, which must not dim the map.
    raw = raw / raw.amax().clamp_min(torch.finfo(raw.dtype).tiny)
    height, width = trace.size
    large = F.interpolate(normalise(raw)[None], padded, mode="bilinear", align_corners=False)[0]
    return normalise(large[:, :height, :width])[0]


def grid_covers(network: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (H', W') that every layer's grid covers for a frame (H, W): the frame and what is padded."""
    return network.padded_size(*size) if isinstance(network, AnySize) else size
