"""Builds the encoder of a segmentation network: by its name, with pretrained weights, without unused stages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from wildseg.core.errors import DataError, ModelError, check_regular
from wildseg.encoders.cnn import packaged, published
from wildseg.encoders.cnn.match_weights import match_weights
from wildseg.encoders.cnn.published import TIMM, Published
from wildseg.encoders.downloads import quiet_hub, reason

Network = TypeVar("Network", bound=torch.nn.Module)

LOADED = "loaded_weights"  # attribute of a network: the description of its encoder's weights
# Of timm: position embeddings are resampled to the image, and windows masked where they exceed it.
ANY_SIZE = {"dynamic_img_size": True, "strict_img_size": False}
PROBE = 64  # pixels, side of the image that an encoder is tried on


def create(network: Callable[..., Network], name: str, weights: str | None, key: str = published.KEY) -> Network:
    """Build a network around the encoder `name`, load the encoder's weights, remove stages that never run.

    Args:
        network: builds a network with an `encoder` from `encoder_name` and `encoder_weights`.
        name: any encoder of segmentation-models-pytorch, or ``tu-`` and the name of a network of timm.
        weights: None (random), a published set such as ``imagenet``, one that a package ships, or a local .safetensors
            file.
        key: the parameter that names the encoder, for error lines; `<key>_weights` names its weights.

    Raises:
        ModelError: there is no such encoder or set of weights, it cannot be fetched, or it does not fit.
    """
    file = Path(weights) if weights and weights.endswith(".safetensors") else None
    packed = weights if weights in packaged.PACKAGED else None
    published.check(name, None if file else weights, key)
    chosen = published.fetch(name, None if file or packed else weights, key)
    with _one_line(name, chosen, key), chosen.fetches, quiet_hub():
        options = {**chosen.options, **_any_size(name)}
        built = network(encoder_name=chosen.name, encoder_weights=chosen.weights, **options)
    encoder = built.get_submodule("encoder")
    dropped = _drop_unused_stages(encoder, name, key)
    if file:
        setattr(built, LOADED, _load(encoder, name, _read(file, key), dropped, str(file), key))
    elif packed:
        setattr(built, LOADED, _load(encoder, name, packaged.read(packed, key), dropped, packed, key))
    elif weights:
        setattr(built, LOADED, f"encoder weights: {weights} of {name}")
    return built


def loaded(network: torch.nn.Module) -> str:
    """Return a description of the weights that `create` loaded into a network's encoder; empty for random ones."""
    return str(getattr(network, LOADED, ""))


@contextmanager
def _one_line(name: str, chosen: Published, key: str) -> Iterator[None]:
    # Building fails for an unsupported depth or size; loading weights raises many types.
    try:
        yield
    except (ModelError, DataError):
        raise
    except Exception as error:
        if chosen.weights is None:
            text = " ".join(str(error).split())
            raise ModelError(f"{key}: {name} cannot be built with these options: {text}") from error
        raise ModelError(
            f"{key}_weights: the published weights of {chosen.name} cannot be used: {reason(error)}; "
            f"{published.instead(key)}"
        ) from error


def _read(path: Path, key: str) -> dict[str, torch.Tensor]:
    try:
        check_regular(path)
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{key}_weights: {path}: expected a .safetensors file ({error})") from error


def _load(
    encoder: torch.nn.Module, name: str, found: dict[str, torch.Tensor], dropped: list[str], source: str, key: str
) -> str:
    """Load tensors into the encoder; return a description of the loaded and skipped ones."""
    where = f"{key}_weights: {source} does not fit {name}"
    try:
        fitted = match_weights(encoder, found, [*_whole(name), *dropped], where)
    except ModelError as error:
        other = name.replace("-", "_")
        fits = not name.startswith(TIMM) and timm.is_model(other) and set(_whole(TIMM + other)) == set(found)
        hint = f"; weights of timm's {other} fit {TIMM}{other}" if fits else ""
        raise ModelError(f"{error}{hint}") from error
    # Not by the encoder's own load_state_dict, which renames keys of other files.
    torch.nn.Module.load_state_dict(encoder, fitted.state, strict=False)
    left_out = f"; left out: {', '.join(fitted.left_out)}" if fitted.left_out else ""
    return f"encoder weights: {len(fitted.state)} of {len(found)} tensors from {Path(source).name}{left_out}"


@cache
def _whole(name: str) -> tuple[str, ...]:
    """Return the names of all tensors of the network around an encoder, or of the encoder at full depth."""
    return tuple(_bare(name).state_dict())


@cache
def _any_size(name: str) -> Mapping[str, bool]:
    """Return the options by which a transformer of timm takes images of any size, where it has such."""
    kinds = inspect.getmro(type(_bare(name))) if name.startswith(TIMM) else ()
    known = {option for kind in kinds for option in inspect.signature(kind).parameters}
    return {option: value for option, value in ANY_SIZE.items() if option in known}


def _bare(name: str) -> torch.nn.Module:
    if name.startswith(TIMM):
        return without_numbers(lambda: timm.create_model(name.removeprefix(TIMM)))
    return without_numbers(lambda: smp.encoders.get_encoder(name, weights=None))


def without_numbers(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Build a network for its shapes and names alone: without memory where possible, and nothing random is drawn."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build()
        except (RuntimeError, NotImplementedError):  # a network that computes in its constructor
            return build()


def _drop_unused_stages(encoder: torch.nn.Module, name: str, key: str) -> list[str]:
    """Replace stages of an encoder below full depth that never run by identities; return their tensors' names.

    They would be saved with every model: three quarters of a resnet18 of depth 4 are its unused last stage.
    """
    ran: set[torch.nn.Module] = set()
    hooks = [module.register_forward_hook(lambda module, *_: ran.add(module)) for module in encoder.modules()]
    try:
        probe(encoder, name, key)
    finally:
        for hook in hooks:
            hook.remove()
    unused = [child for child, stage in encoder.named_children() if ran.isdisjoint(stage.modules())]
    names = [name for name in encoder.state_dict() if name.startswith(tuple(f"{child}." for child in unused))]
    for child in unused:
        setattr(encoder, child, torch.nn.Identity())
    return names


def probe(encoder: torch.nn.Module, name: str, key: str) -> tuple[list[torch.Tensor], int]:
    """Run an encoder on one small black image, as in evaluation; return its features and the side of the image.

    Raises:
        ModelError: the encoder takes images of one size only.
    """
    side = PROBE - PROBE % int(getattr(encoder, "patch", 1))
    training = encoder.training
    try:
        with torch.no_grad():
            return list(encoder.eval()(torch.zeros(1, 3, side, side))), side
    except (RuntimeError, ValueError, AssertionError) as error:
        text = " ".join(str(error).split())
        raise ModelError(
            f"{key}: expected an encoder for images of any size; {name} fails on {side}x{side} pixels"
            f"{f' ({text})' if text else ''}"
        ) from error
    finally:
        encoder.train(training)
