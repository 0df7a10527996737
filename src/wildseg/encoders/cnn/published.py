"""Published weights of encoders, and their arguments for segmentation-models-pytorch and timm."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch

from wildseg.core.errors import ModelError, did_you_mean
from wildseg.encoders.cnn import packaged
from wildseg.encoders.downloads import hub_file, report_progress

TIMM = "tu-"  # the prefix of timm's networks in segmentation-models-pytorch
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
FILES = ("model.safetensors", "pytorch_model.bin")  # names of timm's files on the hub
SMP = ("config.json", "model.safetensors")  # names of segmentation-models-pytorch's files there
ANY = "imagenet"  # the alias of timm's default set of a network
KEY = "train.encoder"  # the parameter that names the encoder; `<key>_weights` names its weights


@dataclass(frozen=True)
class Published:
    """Weights as arguments of segmentation-models-pytorch.

    name: of the encoder. weights: None for random ones. options: further arguments of the encoder. fetches: the context
    of downloads by the library itself.
    """

    name: str
    weights: str | bool | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fetches: AbstractContextManager[None] = field(default_factory=nullcontext)


def instead(key: str) -> str:
    """Return what else may be done where published weights cannot be had, as the end of an error line."""
    return f"give null or a local .safetensors file as {key}_weights"


def check(name: str, weights: str | None, key: str = KEY) -> None:
    """Raise a ModelError, with the nearest match, unless the encoder `name` and published `weights` exist.

    Args:
        name: any encoder of segmentation-models-pytorch, or ``tu-`` and the name of a network of timm, with or
            without the tag of a set of weights: ``tu-resnet18.a1_in1k``.
        weights: None, or a set: of timm's, a tag of the network, or ``imagenet`` for timm's default; or
            one that a package ships.
        key: the parameter that names the encoder, for error lines.
    """
    known = smp.encoders.get_encoder_names()
    if name not in known and not (name.startswith(TIMM) and timm.is_model(name.removeprefix(TIMM))):
        known += [TIMM + other for other in timm.list_models()] if name.startswith(TIMM) else []
        raise ModelError(
            f"{key}: expected an encoder of segmentation-models-pytorch (resnet18, mobilenet_v2, mit_b0, ... "
            f"or {TIMM}<a network of timm>), found {name!r}{did_you_mean(name, known)}"
        )
    network, tag = split(name)
    if tag and tag not in (tags := tags_of(network)):
        raise ModelError(
            f"{key}: expected {TIMM}{network}, or with a tag of its weights ({_few(tags)}), found {name!r}"
            f"{did_you_mean(tag, tags)}"
        )
    if weights is not None and weights in packaged.PACKAGED:
        packaged.check(name, weights, key)
    elif weights is not None:
        _check_set(name, network, tag, weights, key)


def _check_set(name: str, network: str, tag: str, weights: str, key: str) -> None:
    if weights.endswith(PICKLES):
        raise ModelError(
            f"{key}_weights: expected a .safetensors file; {weights!r} is a pickle file, which can run code; "
            "convert it to safetensors where you trust it (safetensors.torch.save_file of its state dict)"
        )
    if name.startswith(TIMM):
        known = tags_of(network)
        if not known:
            raise ModelError(
                f"{key}_weights: expected null or a .safetensors file for {name}, without published weights "
                f"in timm; found {weights!r}"
            )
        known = [tag] if tag else known
        known = [ANY, *known]
    else:
        known = list(smp.encoders.encoders[name]["pretrained_settings"])
    known += [other for other, entry in packaged.PACKAGED.items() if entry.encoder == name]
    if weights not in known:
        raise ModelError(
            f"{key}_weights: expected null, a .safetensors file or, for {name}, {_few(known)}; "
            f"found {weights!r}{did_you_mean(weights, known)}"
        )


def split(name: str) -> tuple[str, str]:
    """Return (the network of timm, the tag of its weights or ``""``) of an encoder, or its name if not timm's."""
    network, _, tag = name.removeprefix(TIMM).partition(".") if name.startswith(TIMM) else (name, "", "")
    return network, tag


def tags_of(network: str) -> list[str]:
    """Return the tags of timm's weights of a network, the default first."""
    names = [name for name in timm.list_pretrained(f"{network}.*") if name.partition(".")[0] == network]
    first = timm.get_pretrained_cfg(network)
    tags = [name.partition(".")[2] for name in names]
    return sorted(tags, key=lambda tag: (first is None or tag != first.tag, tag))


def timm_cfg(name: str, weights: str | None = None) -> Any:  # noqa: ANN401
    """Return timm's config of an encoder's weights (`timm.models.PretrainedCfg`); None for an unknown encoder.

    Args:
        name: see `check`.
        weights: a set; None, or a name that is no tag, means timm's default.
    """
    network, tag = split(name)
    tag = tag or (weights if weights and weights != ANY else "")
    try:
        return timm.get_pretrained_cfg(f"{network}.{tag}" if tag else network)
    except RuntimeError:  # an unknown tag
        return None


def fetch(name: str, weights: str | None, key: str = KEY) -> Published:
    """Download published weights that are on the hub; return the library's arguments for them.

    Raises:
        ModelError: they cannot be downloaded.
    """
    if weights is None:
        return Published(name)
    what = f"{key}_weights: the weights {weights!r} of {name}"
    if not name.startswith(TIMM):
        settings = smp.encoders.encoders[name]["pretrained_settings"][weights]
        for file in SMP:
            hub_file(what, settings["repo_id"], [file], settings["revision"], instead(key), SMP)
        return Published(name, weights)
    network, tag = split(name)
    cfg = timm_cfg(name, weights)
    full = f"{TIMM}{network}.{cfg.tag}" if cfg.tag else f"{TIMM}{network}"
    if cfg.custom_load or not cfg.hf_hub_id or cfg.hf_hub_filename:
        return Published(
            full, True, {}, report_progress(f"weights of {full}", Path(torch.hub.get_dir()) / "checkpoints")
        )
    repo, _, revision = cfg.hf_hub_id.partition("@")
    path = hub_file(what, repo, FILES, revision or None, instead(key))
    return Published(full, True, {"pretrained_cfg_overlay": {"file": str(path)}})


def _few(words: list[str], most: int = 8) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
