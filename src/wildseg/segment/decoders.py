"""What the networks of segmentation-models-pytorch share: options that fit each other, and one pass before training.

The library has one decoder per architecture, each around any of its encoders. Which of them work together shows in a
pass: it is made on a small image when the network is built, and not in the first step of a training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from wildseg.core.errors import ModelError, ParamsError
from wildseg.encoders.cnn import build as encoders
from wildseg.encoders.cnn.build import PROBE
from wildseg.segment.anysize import AnySize

DEPTHS = (3, 4, 5)


class Decoded(AnySize, torch.nn.Module):
    """A network of the library, made to take images of any size."""


def create(network: Callable[..., Decoded], architecture: str, encoder: str, encoder_weights: str | None) -> Decoded:
    """Build a network from images (B, 3, H, W) to logits (B, C + 1, H, W), and try it on one small image.

    Args:
        network: builds it from `encoder_name` and `encoder_weights`, with its last layers in `segmentation_head`.
        architecture: its name, for error lines.
        encoder: any encoder of segmentation-models-pytorch.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.

    Raises:
        ModelError: encoder or weights do not exist or do not fit, or the decoder cannot work with the encoder.
    """
    built = encoders.create(network, encoder, encoder_weights)
    training, sizes = built.training, list[tuple[int, int]]()
    # `AnySize` crops logits to the image, which would hide that they are too large.
    hook = built.get_submodule("segmentation_head").register_forward_hook(
        lambda _module, _inputs, logits: sizes.append((logits.shape[2], logits.shape[3]))
    )
    try:
        with torch.no_grad():
            built.eval()(torch.zeros(1, 3, PROBE, PROBE))
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"train.encoder: {architecture} cannot work with the levels of {encoder} ({reason})"
        ) from error
    finally:
        hook.remove()
        built.train(training)
    height, width = built.padded_size(PROBE, PROBE)
    if sizes != [(height, width)]:
        found = " and ".join(f"{w}x{h}" for h, w in sizes)
        raise ModelError(
            f"train.encoder: {architecture} cannot work with the levels of {encoder}: of an image of {width}x{height} "
            f"pixels it makes logits of {found}"
        )
    return built


def check_depth(architecture: str, encoder_depth: int) -> None:
    """Raise a ParamsError unless the number of levels is 3, 4 or 5."""
    if encoder_depth not in DEPTHS:
        raise ParamsError(f"train.options.{architecture}.encoder_depth: expected 3, 4 or 5, found {encoder_depth!r}")


def check_widths(architecture: str, decoder_channels: Sequence[int], encoder_depth: int) -> None:
    """Raise a ParamsError unless there is one width of the decoder per level of the encoder."""
    if len(decoder_channels) != encoder_depth:
        raise ParamsError(
            f"train.options.{architecture}.decoder_channels: expected {encoder_depth} widths, one per level of "
            f"encoder_depth, found {list(decoder_channels)}"
        )


def check_stride(architecture: str, output_stride: int, possible: Sequence[int]) -> None:
    """Raise a ParamsError unless the output stride is a possible one."""
    if output_stride not in possible:
        raise ParamsError(
            f"train.options.{architecture}.output_stride: expected {' or '.join(map(str, possible))}, "
            f"found {output_stride!r}"
        )


def check_rates(architecture: str, atrous_rates: Sequence[int]) -> None:
    """Raise a ParamsError unless there are three dilations."""
    if len(atrous_rates) != 3:
        raise ParamsError(
            f"train.options.{architecture}.atrous_rates: expected three dilations, found {list(atrous_rates)}"
        )
