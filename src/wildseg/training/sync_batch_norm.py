"""Synchronised batch normalisation on any device: mean and variance are those of the batch of all processes.

The processes gather mean m_i, variance v_i and number n_i of their values; M = sum n_i m_i / N, and the variance is
sum n_i (v_i + (m_i - M)^2) / N (Chan, Golub and LeVeque 1979). It replaces the function and not a kind of module, since
networks bring modules of their own that call it; `torch.nn.SyncBatchNorm` does the same on GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from wildseg.training.collectives import all_gather_rows, all_reduce_sum


class SyncBatchNorm(TorchFunctionMode):
    """Computes every `batch_norm` in training mode over the shares of all processes, whichever module calls it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Call what torch was about to call, or ours."""
        if func is functional.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    input: torch.Tensor,  # noqa: A002 - the name in torch
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Compute `torch.nn.functional.batch_norm` with mean and variance over the inputs (B, C, ...) of all processes."""
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    result, mean, variance, count = _Normalise.apply(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * (count / (count - 1)), momentum)
    return result


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias over all processes, by one collective each way."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor, weight: Any, bias: Any, eps: float) -> Any:  # noqa: ANN401
        """Return the normalised x (B, C, ...), and mean (C,), variance (C,) and number () of values of a channel."""
        axes, shape = _axes(x), (1, -1, *([1] * (x.ndim - 2)))
        values = x.float()
        own_variance, own_mean = torch.var_mean(values, axes, correction=0)  # (C,)
        own_count = torch.full_like(own_mean[:1], x.numel() / x.shape[1])
        parts = all_gather_rows(torch.cat([own_mean, own_variance, own_count])).double()  # (processes, 2 C + 1)
        means, variances = parts[:, :-1].chunk(2, dim=1)
        counts = parts[:, -1:]
        count = counts.sum()
        if x.numel() == x.shape[1] and count == 1:  # checked rarely, since it waits for the GPU
            raise ValueError("Expected more than 1 value per channel when training")
        mean = (counts * means).sum(0) / count
        variance = (counts * (variances + (means - mean).square())).sum(0) / count
        scale = (variance + eps).rsqrt().float()
        normal = (values - mean.float().view(shape)) * scale.view(shape)
        context.save_for_backward(normal, scale, weight)
        context.count, context.has_bias = count.float(), bias is not None
        result = normal if weight is None else normal * weight.view(shape)
        result = result if bias is None else result + bias.view(shape)
        result = result.to(x.dtype).contiguous(memory_format=_format(x))
        outputs = result, mean.float(), variance.float(), count.float()
        context.mark_non_differentiable(*outputs[1:])
        return outputs

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:  # noqa: ANN401
        """Return the gradients of x, weight and bias; those of weight and bias are of this process's part."""
        normal, scale, weight = context.saved_tensors
        axes, shape = _axes(normal), (1, -1, *([1] * (normal.ndim - 2)))
        gradient = gradients[0].float()
        own = torch.cat([gradient.sum(axes), (gradient * normal).sum(axes)])  # (2 C,)
        along, across = (all_reduce_sum(own) / context.count).chunk(2)
        of_x = (gradient - along.view(shape) - normal * across.view(shape)) * scale.view(shape)
        of_x = of_x if weight is None else of_x * weight.view(shape)
        of_bias, of_weight = own.chunk(2)
        of_x = of_x.to(gradients[0].dtype).contiguous(memory_format=_format(gradients[0]))
        return of_x, None if weight is None else of_weight, of_bias if context.has_bias else None, None


def _axes(x: torch.Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def _format(tensor: torch.Tensor) -> torch.memory_format:
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
