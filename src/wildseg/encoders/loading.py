"""Finds and builds an open_clip model: by a name of open_clip, or a config beside a local file; by a tag, or that file.

Every failure on the way is reported in one line. Weights are read
without running any code from the file: safetensors, or torch files restricted to tensors.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip import factory
from torch import nn

from wildseg.core.errors import ModelError, did_you_mean
from wildseg.core.text import error_line
from wildseg.encoders import configs
from wildseg.encoders.configs import LocalConfig
from wildseg.encoders.downloads import PICKLE, hub_file, reason, report_progress
from wildseg.encoders.tokenizer import FULL_VOCABULARY, cut_tokenizer

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # names of open_clip's files on the hub
PREPARATION = ("mean", "std", "interpolation", "resize_mode", "fill_color")
INSTEAD = "name a local file as clip.pretrained"


@dataclass(frozen=True)
class LoadedModel:
    """A model in float32 with its weights, its tokenizer, and how its images are prepared: ``mean``, ``std``, ``size``.

    notes: for the user, on the interpretation of a local file, a line each.
    """

    network: nn.Module
    tokenizer: Any
    preparation: dict[str, Any]
    notes: tuple[str, ...] = ()


def build(model: str, pretrained: str, root: Path) -> LoadedModel:
    """Find a model and its weights, and load them.

    Args:
        model: an open_clip name, or the name of a ``<model>.json`` beside the weights; any name where an
            ``open_clip_config.json`` beside them.
        pretrained: a tag of open_clip, or a file; a relative path starts from `root`.
        root: the project folder.

    Raises:
        ModelError: nothing of that name, or weights that cannot be read or do not fit.
    """
    file = as_file(pretrained, root)
    if file is not None and not file.is_file():
        raise ModelError(f"clip.pretrained: expected a file of weights, found none at {pretrained!r}")
    local = configs.find(file, model) if file is not None else configs.LocalConfig(model)
    if local.name not in open_clip.list_models():
        also = f", or with a {model}.json or {configs.SHARED} beside {pretrained}" if file is not None else ""
        nearest = did_you_mean(model, open_clip.list_models())
        raise ModelError(f"clip.model: expected a model of open_clip{also}, found {model!r}{nearest}")
    if file is None:
        network = _from_tag(model, pretrained)
        return LoadedModel(network, _tokenizer(model), dict(open_clip.get_model_preprocess_cfg(network)))
    network = _from_file(local, model, file)
    preparation = {**open_clip.get_model_preprocess_cfg(network), **configs.published(model), **local.preparation}
    return LoadedModel(
        network, _tokenizer(local.name), preparation, configs.assumption_note(local, model, file, preparation)
    )


def as_file(pretrained: str, root: Path) -> Path | None:
    """Return the path if `pretrained` names a file of weights, None if it is a tag of open_clip."""
    path = root / pretrained
    looks_like_one = "/" in pretrained or "\\" in pretrained or pretrained.endswith(SUFFIXES)
    return path if looks_like_one or path.is_file() else None


def _from_file(local: LocalConfig, model: str, file: Path) -> nn.Module:
    if file.suffix not in SUFFIXES:
        raise ModelError(f"clip.pretrained: expected one of {', '.join(SUFFIXES)}, found {file.name!r}")
    plain = not open_clip.get_model_config(local.name).get("quick_gelu", False)
    if plain and not local.shared and "openai" in str(file).lower():
        warnings.warn(
            f"clip.model: {file.name} looks like weights of OpenAI, which need QuickGELU, but {model} uses plain GELU; "
            f"labels and maps get worse without a word; expected a model such as {model}-quickgelu",
            stacklevel=4,
        )
    with _quiet():
        try:
            network = open_clip.create_model(local.name, pretrained_text=False)
        except Exception as error:  # open_clip builds from the config's keys as they come
            raise ModelError(f"clip.model: {model!r} cannot be built from its config ({_line(error)})") from error
        try:
            _check_torch_file(file)
            open_clip.load_checkpoint(network, str(file), weights_only=True)
        except Exception as error:  # formats raise many types
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
    parts += [f"{len(extra)} unexpected, such as {extra[0]}"] if extra else []
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
    what = f"clip.pretrained: the weights {tag!r} of {model}"
    file, fetches = _fetch(what, config)
    prepared = {key: config[key] for key in PREPARATION if key in config}
    with fetches, _quiet():
        try:
            if file is None:
                return open_clip.create_model(model, pretrained=tag)
            _check_torch_file(file)
            return open_clip.create_model(model, pretrained=str(file), force_preprocess_cfg=prepared)
        except Exception as error:  # formats and networks raise many types
            read = f"were fetched to {file} and cannot be used" if file else "could not be fetched"
            raise ModelError(f"{what} {read}: {reason(error)}; {INSTEAD}") from error


def _fetch(what: str, config: dict[str, Any]) -> tuple[Path | None, AbstractContextManager[None]]:
    """Return the path of published weights, downloaded if needed, or None and a context for open_clip's download."""
    if "file" in config:
        return Path(config["file"]), nullcontext()
    if not config.get("hf_hub"):
        return None, report_progress(what.removeprefix("clip.pretrained: "), Path("~/.cache/clip").expanduser())
    repo, _, name = config["hf_hub"].rpartition("/")
    stem = name.removesuffix(".bin").removesuffix(".pth")
    names = [f"{stem}.safetensors", name] if stem != name else [name] if name else list(FILES)
    return hub_file(what, repo, names, None, INSTEAD), nullcontext()


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
    return reason(error) if reason(error) == PICKLE else error_line(error)
