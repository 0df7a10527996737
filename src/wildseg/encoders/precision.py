"""Numeric precision of a forward pass: fp32, or mixed precision in bf16 or fp16."""

from __future__ import annotations

import torch

from wildseg.core.errors import WildsegError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(requested: str, device: str, key: str = "train.precision") -> str:
    """Return fp32, bf16 or fp16 for auto, fp32, bf16 or fp16; auto is bf16 on a GPU that has it, else fp32.

    Args:
        requested: what is wanted.
        device: of torch.
        key: the parameter that says so, for error lines.

    Raises:
        WildsegError: fp16 without a GPU.
    """
    on_gpu = device.startswith("cuda")
    if requested == "auto":
        return "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if requested == "fp16" and not on_gpu:
        raise WildsegError(f"{key}: fp16 needs a GPU, and this run uses the CPU; use auto, bf16 or fp32")
    return requested


def autocast(device: str, precision: str) -> torch.autocast:
    """Return the context in which a forward pass computes in `precision`."""
    return torch.autocast(torch.device(device).type, DTYPES[precision], enabled=precision != "fp32")
