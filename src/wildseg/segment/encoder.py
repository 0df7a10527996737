"""The encoder of a segmentation network: its name, its pretrained weights, and the stages of it that are used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from wildseg.errors import DataError, ModelError, check_regular, did_you_mean

TIMM = "tu-"  # the prefix under which segmentation-models-pytorch reaches every network of timm
HEADS = ("fc.", "classifier.", "head.", "last_linear.", "_fc.")  # classification heads, of no use here


def create(network: Callable[..., torch.nn.Module], name: str, weights: str | None) -> torch.nn.Module:
    """Build a network around the encoder `name`, load the encoder's weights, drop what it never runs.

    Args:
        network: takes `encoder_name` and `encoder_weights` and returns a network with an `encoder`.
        name: any encoder of segmentation-models-pytorch, or ``tu-`` and the name of a network of timm.
        weights: None (random), a published set such as ``imagenet``, or a local .safetensors file.

    Raises:
        ModelError: there is no such encoder or set of weights, it cannot be fetched, or it does not fit.
    """
    _check_name(name)
    file = weights if weights and weights.endswith(".safetensors") else None
    published = None if file else weights
    _check_published(name, published)
    with _one_line(name, published):
        built = network(encoder_name=name, encoder_weights=published)
    encoder = built.get_submodule("encoder")
    dropped = _drop_unused_stages(encoder, name)
    if file:
        _load(encoder, name, Path(file), without=(*HEADS, *dropped))
    return built


def _check_name(name: str) -> None:
    known = smp.encoders.get_encoder_names()
    if name in known or (name.startswith(TIMM) and timm.is_model(name.removeprefix(TIMM))):
        return
    known += [TIMM + other for other in timm.list_models()] if name.startswith(TIMM) else []
    raise ModelError(
        f"train.encoder: expected an encoder of segmentation-models-pytorch (resnet18, mobilenet_v2, mit_b0, ... or "
        f"{TIMM}<a network of timm>), found {name!r}{did_you_mean(name, known)}"
    )


def _check_published(name: str, weights: str | None) -> None:
    if weights is None or name.startswith(TIMM):
        return
    known = list(smp.encoders.encoders[name]["pretrained_settings"])
    if weights not in known:
        raise ModelError(
            f"train.encoder_weights: expected null, a .safetensors file or, for {name}, {', '.join(known)}; "
            f"found {weights!r}{did_you_mean(weights, known)}"
        )


@contextmanager
def _one_line(name: str, weights: str | None) -> Iterator[None]:
    # Building fails on a depth or size the encoder does not have; fetching fails in as many ways as a network can.
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # its retries would bury the one line that matters
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        if weights is None:
            raise ModelError(f"train.encoder: {name} cannot be built with these options: {reason}") from error
        raise ModelError(
            f"train.encoder_weights: the weights {weights!r} of {name} could not be fetched; connect to the internet "
            f"once, or give null or a local .safetensors file ({reason})"
        ) from error
    finally:
        logger.setLevel(level)


def _load(encoder: torch.nn.Module, name: str, path: Path, without: tuple[str, ...]) -> None:
    try:
        check_regular(path)
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"train.encoder_weights: {path}: expected a .safetensors file ({error})") from error
    # A whole segmenter holds its encoder below "encoder.".
    inner = {key.removeprefix("encoder."): value for key, value in found.items() if key.startswith("encoder.")}
    state = {key: value for key, value in (inner or found).items() if not key.startswith(without)}
    try:
        encoder.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"train.encoder_weights: {path} does not fit {name}: {reason[:300]}{'...' if len(reason) > 300 else ''}"
        ) from error


def _drop_unused_stages(encoder: torch.nn.Module, name: str) -> list[str]:
    """Replace the stages that an encoder of less than full depth holds but never runs; return their prefixes.

    They would be saved with every model: three quarters of a resnet18 of depth 4 are its unused last stage.
    """
    ran: set[torch.nn.Module] = set()
    hooks = [module.register_forward_hook(lambda module, *_: ran.add(module)) for module in encoder.modules()]
    training = encoder.training
    try:
        with torch.no_grad():
            encoder.eval()(torch.zeros(1, 3, 64, 64))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ModelError(
            f"train.encoder: expected an encoder for images of any size; {name} fails on 64x64 pixels "
            f"({' '.join(str(error).split())})"
        ) from error
    finally:
        encoder.train(training)
        for hook in hooks:
            hook.remove()
    unused = [child for child, stage in encoder.named_children() if ran.isdisjoint(stage.modules())]
    for child in unused:
        setattr(encoder, child, torch.nn.Identity())
    return [f"{child}." for child in unused]
