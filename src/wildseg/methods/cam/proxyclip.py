"""ProxyCLIP (Lan et al. 2024): CLIP's values, attention weights from the features of a second encoder such as DINO.

``F = W_o softmax(mask((S - beta mean S) gamma)) v + b_o`` with S the cosines of the second encoder's features; patches
alone, without residual path and second half. v is resampled to the second encoder's grid, on which the maps lie.

With `window`, the frame is read in windows. Published for them is one attention per window, whose cosines are averaged
where windows overlap; with `stitch` their values and features are put together first, and one attention covers the
whole frame (the idea of OV-Stitcher, CVPR 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Literal

import torch.nn.functional as F
from torch import Tensor

from wildseg.cam import dense
from wildseg.cam.trace import LastAttention, Trace
from wildseg.core.errors import ModelError
from wildseg.core.limits import Between, Side

NEEDS = frozenset({"encoder", "competition"})
Part = tuple[slice, slice]
Weigh = Callable[[Tensor], Tensor]  # features (N, C) to attention weights (N, N)


def cam(
    trace: Trace,
    *,
    scale: Annotated[float, Between(0.001, 10000)] = 40.0,
    competitors: Literal["present", "all"] = "present",
    encoder: str = "tu-vit_base_patch8_224.dino",
    encoder_weights: str | None = "imagenet",
    stride: Literal[8, 16, 32] | None = None,
    beta: Annotated[float, Between(0, 1000)] = 1.2,
    gamma: Annotated[float, Between(0, 1000)] = 3.0,
    window: Side | None = None,
    window_step: Side | None = None,
    stitch: bool = True,
) -> Tensor:
    """Return maps (K, h, w) in [0, 1] on the grid of the second encoder.

    Args:
        trace: the recorded pass.
        scale: by which cosines are multiplied before the softmax.
        competitors: see `wildseg.cam.dense.maps`.
        encoder: any encoder of timm (``tu-`` and its name) or segmentation-models-pytorch; loaded before this.
        encoder_weights: of it: a published set, a .safetensors file, or None for random ones.
        stride: pixels per cell of its last stage; None for a transformer's patch, and 8 for a CNN.
        beta: how much of the mean is subtracted.
        gamma: sharpness.
        window: side of a window in pixels of the resized frame, rounded up to whole patches; None for the whole frame.
        window_step: from one window to the next; None for a third of `window`, as published.
        stitch: one attention over all windows.

    Raises:
        ModelError: the network has no attention at its end, or there is no second encoder.
        ParamsError: no text competes.
    """
    del encoder, encoder_weights, stride  # see wildseg.cam.second_encoder
    if trace.last is None:
        raise ModelError("cam.method: proxyclip changes the attention of the last block; this network has none")
    last, parts = trace.last, [(slice(0, trace.size[0]), slice(0, trace.size[1]))]
    if window is not None:
        parts = list(windows(trace.size, last.patch, window, window_step or max(1, window // 3)))
    weigh = partial(dense.proxy_attention, centre=beta, sharpness=gamma)
    if len(parts) == 1:
        cosines = _cosines(last, _values(last), last.encode()[0], weigh)
    else:
        cosines = _of_windows(last, trace.size, parts, weigh, stitch)
    return dense.shares(trace, cosines, method="proxyclip", scale=scale, competitors=competitors)


def _of_windows(last: LastAttention, size: tuple[int, int], parts: list[Part], weigh: Weigh, stitch: bool) -> Tensor:
    crops = [last.crop(rows, columns) for rows, columns in parts]
    values, features = [_values(own) for own in crops], [own.encode()[0] for own in crops]
    # As many cells to the frame as the second encoder has to the first window.
    pixels, cells = [axis.stop - axis.start for axis in parts[0]], features[0].shape[1:]
    height, width = (max(round(n * m / side), 1) for n, m, side in zip(size, cells, pixels, strict=True))
    if stitch:
        whole = [stitched(own, parts, size, (height, width)) for own in (values, features)]
        return _cosines(last, whole[0], whole[1], weigh)
    each = [_cosines(last, v, f, weigh) for v, f in zip(values, features, strict=True)]
    return stitched(each, parts, size, (height, width))


def _values(last: LastAttention) -> Tensor:
    """Return the values of the last attention as pictures: (heads, d, h, w)."""
    return last.values().transpose(1, 2).unflatten(2, last.grid)


def _cosines(last: LastAttention, values: Tensor, features: Tensor, weigh: Weigh) -> Tensor:
    """Return cosines (M, h, w) with the texts on the grid of `features` (C, h, w), from values (heads, d, h', w')."""
    grid = (features.shape[1], features.shape[2])
    weights = weigh(features.flatten(1).T)  # (h*w, h*w), the same for all heads
    mixed = weights @ _resampled(values, grid).flatten(2).transpose(1, 2)  # (heads, h*w, d)
    return last.read_out(mixed).unflatten(1, grid)


def windows(size: tuple[int, int], patch: tuple[int, int], side: int, step: int) -> Iterator[Part]:
    """Yield windows that cover a frame of `size` (H, W), the last of each row and column flush with its border."""
    rows, columns = (_starts(*axis, side, step) for axis in zip(size, patch, strict=True))
    for top in rows:
        for left in columns:
            yield top, left


def _starts(length: int, patch: int, side: int, step: int) -> list[slice]:
    side, step = (-(-pixels // patch) * patch for pixels in (side, step))
    count = max(length - side + step - 1, 0) // step + 1
    ends = [min(number * step + side, length) for number in range(count)]
    return [slice(max(end - side, 0), end) for end in ends]


def stitched(maps: list[Tensor], parts: list[Part], size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Return one picture (..., h, w) on `grid` from pictures of parts of a frame, averaged where parts overlap.

    Args:
        maps: (..., h', w') of each part.
        parts: rows and columns of each in pixels.
        size: (H, W) of the frame.
        grid: (h, w) of the whole.
    """
    total = maps[0].new_zeros(*maps[0].shape[:-2], *grid)
    number = maps[0].new_zeros(grid)
    for own, part in zip(maps, parts, strict=True):
        rows, columns = (
            slice(round(axis.start * cells / pixels), max(round(axis.stop * cells / pixels), 1))
            for axis, cells, pixels in zip(part, grid, size, strict=True)
        )
        total[..., rows, columns] += _resampled(own, (rows.stop - rows.start, columns.stop - columns.start))
        number[rows, columns] += 1
    return total / number.clamp_min(1)


def _resampled(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample (n, h, w) or (n, C, h, w) to another grid, bilinearly."""
    if values.shape[-2:] == grid:
        return values
    several = values if values.ndim == 4 else values[None]
    return F.interpolate(several, grid, mode="bilinear", align_corners=False).reshape(*values.shape[:-2], *grid)
