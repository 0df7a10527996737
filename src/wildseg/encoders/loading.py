"""Finds and builds an open_clip model: a name open_clip knows, or a config beside a local file; a tag, or that file.

Everything that can go wrong on the way is a person's everyday mistake, so each is told in one line. Weights are read
without running any code from the file: safetensors, or torch files restricted to tensors.
"""

from __future__ import annotations

import json
import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip import factory
from torch import nn

from wildseg.encoders.tokenizer import FULL_VOCABULARY, cut_tokenizer
from wildseg.encoders.weights import config_beside
from wildseg.errors import ModelError, did_you_mean

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

# What a config may say about its tokenizer. open_clip hands all of it to transformers, which takes far more; one of its
# options runs code that lies beside the tokenizer.
TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "reduction_mask"}


def build(model: str, pretrained: str, root: Path) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Return (the model in float32 with its weights, its tokenizer, how its images are prepared).

    Args:
        model: an open_clip name, or the name of a ``<model>.json`` beside the weights.
        pretrained: a tag of open_clip, or a file; a relative path is looked up below `root`.
        root: the project folder.

    Raises:
        ModelError: nothing of that name, or weights that cannot be read or do not fit.
    """
    file = as_file(pretrained, root)
    if file is not None and not file.is_file():
        raise ModelError(f"clip.pretrained: expected a file of weights, found none at {pretrained!r}")
    if file is not None:
        _register(config_beside(file, model))
    if model not in open_clip.list_models():
        beside = f", or with a {model}.json beside {pretrained}" if file is not None else ""
        nearest = did_you_mean(model, open_clip.list_models())
        raise ModelError(f"clip.model: expected a model of open_clip{beside}, found {model!r}{nearest}")
    network = _from_file(model, file) if file is not None else _from_tag(model, pretrained)
    return network, _tokenizer(model), _preparation(model, network, pretrained)


def as_file(pretrained: str, root: Path) -> Path | None:
    """Return the path if `pretrained` names a file of weights, None if it is a tag of open_clip."""
    path = root / pretrained
    looks_like_one = "/" in pretrained or "\\" in pretrained or pretrained.endswith(SUFFIXES)
    return path if looks_like_one or path.is_file() else None


def _register(config: Path) -> None:
    if not config.is_file():
        return
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{config}: expected an open_clip config as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{config}: expected an open_clip config, found {type(content).__name__}")
    if missing := [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in content]:
        raise ModelError(f"{config}: expected an open_clip config; {missing[0]!r} is missing")
    parts = [content["vision_cfg"], content["text_cfg"]]
    if not all(isinstance(part, dict) for part in parts):
        raise ModelError(f"{config}: expected an open_clip config; 'vision_cfg' and 'text_cfg' are objects")
    if strange := sorted(set(content["text_cfg"].get("tokenizer_kwargs") or ()) - TOKENIZER_OPTIONS):
        raise ModelError(
            f"{config}: expected of tokenizer_kwargs {', '.join(sorted(TOKENIZER_OPTIONS))}; found {strange[0]!r}"
        )
    if config not in factory._MODEL_CONFIG_PATHS:
        open_clip.add_model_config(config)


def _from_file(model: str, file: Path) -> nn.Module:
    if file.suffix not in SUFFIXES:
        raise ModelError(f"clip.pretrained: expected one of {', '.join(SUFFIXES)}, found {file.name!r}")
    if "openai" in str(file).lower() and not open_clip.get_model_config(model).get("quick_gelu", False):
        warnings.warn(
            f"clip.model: {file.name} looks like weights of OpenAI, which need QuickGELU, but {model} uses plain GELU; "
            f"labels and maps get worse without a word; expected a model such as {model}-quickgelu",
            stacklevel=4,
        )
    with _quiet():
        try:
            network = open_clip.create_model(model, pretrained_text=False)
        except Exception as error:  # open_clip builds from the config's keys as they come
            raise ModelError(f"clip.model: {model!r} cannot be built from its config ({_line(error)})") from error
        try:
            _check_torch_file(file)
            open_clip.load_checkpoint(network, str(file), weights_only=True)
        except Exception as error:  # every format has errors of its own
            raise ModelError(f"clip.pretrained: {_misfit(model, network, file, error)}") from error
    return network


def _check_torch_file(file: Path) -> None:
    """Raise whatever torch raises unless a file of weights holds plain tensors and is as large as they are.

    Asked before open_clip reads it: where that fails in one way, open_clip tries again with what torch and the
    environment take for granted, which may be to trust the file.
    """
    if file.suffix == ".safetensors":
        return
    if mapped := zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(part.file_size > max(part.compress_size, 2**16) for part in archive.infolist()):
                raise ValueError("an archive whose parts are larger than the file; torch compresses nothing")
    torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)


def _misfit(model: str, network: nn.Module, file: Path, error: Exception) -> str:
    """Name what is wrong with a file of weights: unreadable, or the first tensors that are missing or differ."""
    try:
        _check_torch_file(file)
        found = {name: tuple(value.shape) for name, value in factory.load_state_dict(str(file)).items()}
    except Exception as unreadable:
        return f"expected weights as safetensors or plain torch tensors in {file.name}, found {_line(unreadable)}"
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    other = [f"{k} is {found[k]} instead of {expected[k]}" for k in expected if k in found and found[k] != expected[k]]
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    parts = ["; ".join(other[:2])] if other else []
    parts += [f"{len(missing)} missing, such as {missing[0]}"] if missing else []
    parts += [f"{len(extra)} not asked for, such as {extra[0]}"] if extra else []
    return f"the weights in {file.name} do not fit {model}: {'; '.join(parts) or _line(error)}"


def _from_tag(model: str, tag: str) -> nn.Module:
    tags = open_clip.list_pretrained_tags_by_model(model)
    config = open_clip.get_pretrained_cfg(model, tag)
    if not config:
        known = f"one of its tags ({', '.join(tags)})" if tags else "a file, since open_clip has no weights for it"
        raise ModelError(f"clip.pretrained: expected for {model} {known}; found {tag!r}{did_you_mean(tag, tags)}")
    if config.get("quick_gelu", False) and not open_clip.get_model_config(model).get("quick_gelu", False):
        raise ModelError(
            f"clip.model: the weights {tag!r} were trained with QuickGELU and get worse without a word under plain "
            f"GELU; expected {model + '-quickgelu'!r}, found {model!r}"
        )
    with _quiet():
        try:
            return open_clip.create_model(model, pretrained=tag)
        except Exception as error:  # downloads fail in as many ways as there are networks
            raise ModelError(
                f"clip.pretrained: the weights {tag!r} of {model} could not be fetched ({_line(error)}); "
                "check the network, or name a local file"
            ) from error


def _tokenizer(model: str) -> Any:  # noqa: ANN401
    text = open_clip.get_model_config(model).get("text_cfg", {})
    size = text.get("vocab_size", FULL_VOCABULARY)
    own = not text.get("hf_tokenizer_name") and "siglip" not in model.lower()
    with _quiet():
        try:
            if own and size < FULL_VOCABULARY:
                return cut_tokenizer(size, text.get("context_length", 77))
            return open_clip.get_tokenizer(model)
        except Exception as error:  # tokenizers of other families are fetched from a hub
            raise ModelError(f"clip.model: the tokenizer of {model} could not be had ({_line(error)})") from error


def _preparation(model: str, network: nn.Module, pretrained: str) -> dict[str, Any]:
    """Return ``mean`` and ``std`` of the colours and ``size``, as the weights were trained."""
    preparation = dict(open_clip.get_model_preprocess_cfg(network))
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tags and pretrained not in tags:
        # A local file does not say how its images were prepared; the published weights of the same model do.
        published = open_clip.get_pretrained_cfg(model, tags[0])
        preparation.update({key: published[key] for key in ("mean", "std") if key in published})
    return preparation


@contextmanager
def _quiet() -> Iterator[None]:
    # open_clip logs each step of loading, and warns of random weights before they are filled in.
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
