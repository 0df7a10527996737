"""The encoder of a segmentation network: its name, its pretrained weights, and the stages of it that are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from wildseg.core.errors import DataError, ModelError, check_regular
from wildseg.encoders.cnn import published
from wildseg.encoders.cnn.match_weights import match_weights
from wildseg.encoders.cnn.published import TIMM, Published
from wildseg.encoders.downloads import quiet_hub, reason

LOADED = "loaded_weights"  # the attribute of a network that says what was loaded into its encoder


def create(network: Callable[..., torch.nn.Module], name: str, weights: str | None) -> torch.nn.Module:
    """Build a network around the encoder `name`, load the encoder's weights, drop what it never runs.

    Args:
        network: takes `encoder_name` and `encoder_weights` and returns a network with an `encoder`.
        name: any encoder of segmentation-models-pytorch, or ``tu-`` and the name of a network of timm.
        weights: None (random), a published set such as ``imagenet``, or a local .safetensors file.

    Raises:
        ModelError: there is no such encoder or set of weights, it cannot be fetched, or it does not fit.
    """
    file = weights if weights and weights.endswith(".safetensors") else None
    published.check(name, None if file else weights)
    chosen = published.fetch(name, None if file else weights)
    with _one_line(name, chosen), chosen.fetches, quiet_hub():
        built = network(encoder_name=chosen.name, encoder_weights=chosen.weights, **chosen.options)
    encoder = built.get_submodule("encoder")
    dropped = _drop_unused_stages(encoder, name)
    if file:
        setattr(built, LOADED, _load(encoder, name, Path(file), dropped))
    elif weights:
        setattr(built, LOADED, f"encoder weights: {weights} of {name}")
    return built


def loaded(network: torch.nn.Module) -> str:
    """Say in a few words which weights `create` loaded into a network's encoder; empty for random ones."""
    return str(getattr(network, LOADED, ""))


@contextmanager
def _one_line(name: str, chosen: Published) -> Iterator[None]:
    # Building fails on a depth or size the encoder does not have; weights fail in as many ways as they are written.
    try:
        yield
    except (ModelError, DataError):
        raise
    except Exception as error:
        if chosen.weights is None:
            text = " ".join(str(error).split())
            raise ModelError(f"train.encoder: {name} cannot be built with these options: {text}") from error
        raise ModelError(
            f"train.encoder_weights: the published weights of {chosen.name} cannot be used: {reason(error)}; "
            f"{published.INSTEAD}"
        ) from error


def _load(encoder: torch.nn.Module, name: str, path: Path, dropped: list[str]) -> str:
    """Load a file into the encoder; return in a few words what was loaded and what was left out."""
    try:
        check_regular(path)
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"train.encoder_weights: {path}: expected a .safetensors file ({error})") from error
    where = f"train.encoder_weights: {path} does not fit {name}"
    try:
        fitted = match_weights(encoder, found, [*_whole(name), *dropped], where)
    except ModelError as error:
        other = name.replace("-", "_")
        fits = not name.startswith(TIMM) and timm.is_model(other) and set(_whole(TIMM + other)) == set(found)
        hint = f"; weights of timm's {other} fit {TIMM}{other}" if fits else ""
        raise ModelError(f"{error}{hint}") from error
    # Not by the encoder's own way, which renames what other files hold.
    torch.nn.Module.load_state_dict(encoder, fitted.state, strict=False)
    left_out = f"; left out: {', '.join(fitted.left_out)}" if fitted.left_out else ""
    return f"encoder weights: {len(fitted.state)} of {len(found)} tensors from {path.name}{left_out}"


def _whole(name: str) -> list[str]:
    """Return the names of all tensors of the network that an encoder is a part of, or of the encoder at full depth."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return _names(name)
        except (RuntimeError, NotImplementedError):  # a network that computes while it is built
            return _names(name)


def _names(name: str) -> list[str]:
    if name.startswith(TIMM):
        return list(timm.create_model(name.removeprefix(TIMM)).state_dict())
    return list(smp.encoders.get_encoder(name, weights=None).state_dict())


def _drop_unused_stages(encoder: torch.nn.Module, name: str) -> list[str]:
    """Replace the stages that an encoder of less than full depth holds but never runs; return their tensors' names.

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
    names = [name for name in encoder.state_dict() if name.startswith(tuple(f"{child}." for child in unused))]
    for child in unused:
        setattr(encoder, child, torch.nn.Identity())
    return names
