"""Config files beside local CLIP weights: architecture, activation, mean and standard deviation.

``<model>.json``, an architecture as open_clip has it, or ``open_clip_config.json``, as a folder of the model hub has it
for its one model: ``{"model_cfg": an architecture, "preprocess_cfg": {"mean": ..., "std": ...}}``. A config beside the
weights overrides open_clip's of the same name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip import factory

from wildseg.core.errors import ModelError, check_regular
from wildseg.encoders import captions
from wildseg.encoders.weights import config_path, shared_config_path

SHARED = "open_clip_config.json"
COLOURS = ("mean", "std")
QUICK = "-quickgelu"  # the end of open_clip's names of architectures with that activation

# The permitted options of a tokenizer. open_clip passes all of them to transformers, which accepts far more; one of
# these runs code beside the tokenizer.
TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "reduction_mask"}


@dataclass(frozen=True)
class LocalConfig:
    """What was found beside a file of weights.

    name: under which open_clip knows the architecture now. own, shared: whether there is a ``<model>.json``, an
    ``open_clip_config.json``. preparation: mean and std, as far as given.
    """

    name: str
    own: bool = False
    shared: bool = False
    preparation: Mapping[str, Any] = field(default_factory=dict)


def find(file: Path, model: str) -> LocalConfig:
    """Read the configs beside a file of weights, and register the architecture in open_clip.

    Raises:
        ModelError: it is no config, or has a value that is not allowed.
    """
    own, shared = config_path(file, model), shared_config_path(file)
    name = model
    preparation: dict[str, Any] = {}
    if shared.is_file():
        architecture, preparation = _read(shared)
        if not own.is_file():
            name = f"open_clip_config {hashlib.sha256(shared.read_bytes()).hexdigest()[:16]}"
            _register(name, _with_tokenizer_beside(architecture, file.parent))
    if own.is_file():
        architecture, given = _read(own)
        _register(model, architecture)
        preparation = {**given, **preparation}
    return LocalConfig(name, own.is_file(), shared.is_file(), preparation)


def published(model: str) -> dict[str, Any]:
    """Return mean and std of a model's published weights, those of the first set; empty where there are none."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    config = open_clip.get_pretrained_cfg(model, tags[0]) if tags else {}
    return {key: config[key] for key in COLOURS if key in config}


def assumption_note(local: LocalConfig, model: str, file: Path, preparation: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line on what was assumed of a local file, or on a config beside it that is of another model.

    Weights that declare what their captions were of are from this package's own recipe, and leave nothing to assume.
    """
    notes = _other_architecture(local, model, file) if local.shared and not local.own else []
    if not set(COLOURS) <= set(local.preparation) and not captions.declares_region_captions(file):
        notes.append(_assumed(local, model, file, preparation["mean"]))
    return tuple(notes)


def _assumed(local: LocalConfig, model: str, file: Path, mean: Sequence[float]) -> str:
    tags = {tag: open_clip.get_pretrained_cfg(model, tag) for tag in open_clip.list_pretrained_tags_by_model(model)}
    first = next(iter(tags), None)
    source = f"that of {model}'s published {first!r}" if first else "open_clip's own"
    quick = _quick(open_clip.get_model_config(local.name))
    by = f"{model}.json" if local.own else SHARED if local.shared else f"open_clip's {model}"
    parts = [
        f"clip.pretrained: no config beside {file.name} declares its normalisation: mean {_words(mean)} is "
        f"assumed ({source}), and {_activation(quick)} (as {by} has it)"
    ]
    if other := [tag for tag, config in tags.items() if tuple(config["mean"]) != tuple(mean)]:
        parts.append(
            f"{_such_as(other)} have mean {' or '.join(dict.fromkeys(_words(tags[t]['mean']) for t in other))}"
        )
    bare = model.removesuffix(QUICK)
    sets = {tag: open_clip.get_pretrained_cfg(bare, tag) for tag in open_clip.list_pretrained_tags_by_model(bare)}
    other = [tag for tag, config in sets.items() if _quick(config) != quick]
    if other and not local.own and not local.shared:
        parts.append(f"{_such_as(other)} have {_activation(not quick)} (clip.model: {bare if quick else bare + QUICK})")
    return "; ".join([*parts, f"if it is none of these, put its {SHARED} beside it"])


def _such_as(tags: Sequence[str], most: int = 3) -> str:
    return f"{', '.join(tags[:most])}{f' and {len(tags) - most} more' if len(tags) > most else ''}"


def _other_architecture(local: LocalConfig, model: str, file: Path) -> list[str]:
    """Return a line if the config beside the file declares another architecture than open_clip's `model`."""
    known, declared = open_clip.get_model_config(model), open_clip.get_model_config(local.name)
    if known is None:
        return []
    pairs = [(known, declared), *((known[part], declared[part]) for part in ("vision_cfg", "text_cfg"))]
    differ = [
        f"{key} {theirs[key]} instead of {ours[key]}"
        for ours, theirs in pairs
        for key in sorted(ours.keys() & theirs.keys() - {"vision_cfg", "text_cfg", "quick_gelu"})
        if ours[key] != theirs[key]
    ]
    differ += (
        [f"{_activation(_quick(declared))} instead of {_activation(_quick(known))}"]
        if _quick(known) != _quick(declared)
        else []
    )
    if not differ:
        return []
    words = f"{SHARED} beside {file.name} describes another model than {model} ({', '.join(differ[:3])})"
    return [f"clip.model: {words}; the config beside the weights is used"]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (the architecture, mean and std as far as given) of either kind of config."""
    try:
        check_regular(path)
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: expected an open_clip config as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected an open_clip config, found {type(content).__name__}")
    architecture, preparation = content.get("model_cfg", content), content.get("preprocess_cfg") or {}
    if not isinstance(architecture, dict) or not isinstance(preparation, dict):
        raise ModelError(f"{path}: expected an open_clip config; 'model_cfg' and 'preprocess_cfg' are objects")
    if missing := [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in architecture]:
        raise ModelError(f"{path}: expected an open_clip config; {missing[0]!r} is missing")
    if not all(isinstance(architecture[part], dict) for part in ("vision_cfg", "text_cfg")):
        raise ModelError(f"{path}: expected an open_clip config; 'vision_cfg' and 'text_cfg' are objects")
    if strange := sorted(set(architecture["text_cfg"].get("tokenizer_kwargs") or ()) - TOKENIZER_OPTIONS):
        raise ModelError(
            f"{path}: expected of tokenizer_kwargs {', '.join(sorted(TOKENIZER_OPTIONS))}; found {strange[0]!r}"
        )
    return architecture, {key: _colours(path, key, preparation[key]) for key in COLOURS if key in preparation}


def _colours(path: Path, key: str, values: Any) -> tuple[float, ...]:  # noqa: ANN401
    least = 0 if key == "std" else -math.inf
    right = isinstance(values, list) and len(values) == 3 and all(type(value) in (int, float) for value in values)
    if not right or not all(math.isfinite(value) and value > least for value in values):
        raise ModelError(f"{path}: expected a {key} of three numbers, red, green and blue; found {values!r}")
    if key == "mean" and not 0 <= min(values) <= max(values) <= 1:
        raise ModelError(f"{path}: expected a mean within [0, 1], found {values!r}; divide mean and std by 255 if they "
                         "are of 8-bit images")  # fmt: skip
    return tuple(map(float, values))


def _with_tokenizer_beside(architecture: dict[str, Any], folder: Path) -> dict[str, Any]:
    # A folder of the hub brings its tokenizer with it.
    text = architecture["text_cfg"]
    here = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    if not (text.get("hf_tokenizer_name") and here):
        return architecture
    return {**architecture, "text_cfg": {**text, "hf_tokenizer_name": str(folder)}}


def _register(name: str, architecture: Mapping[str, Any]) -> None:
    factory._MODEL_CONFIGS[name] = dict(architecture)


def _quick(config: Mapping[str, Any]) -> bool:
    return bool(config.get("quick_gelu", False))


def _activation(quick: bool) -> str:
    return "QuickGELU" if quick else "plain GELU"


def _words(values: Any) -> str:  # noqa: ANN401
    return " ".join(f"{value:.4g}" for value in values)
