"""The input normalisation of an encoder: the mean and standard deviation published with its weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
from safetensors import SafetensorError, safe_open

from wildseg.core.errors import DataError, ModelError, check_regular
from wildseg.encoders.cnn import packaged
from wildseg.encoders.cnn.imagenet import MEAN, STD
from wildseg.encoders.cnn.published import KEY, SMP, TIMM, check, instead, split, tags_of, timm_cfg
from wildseg.encoders.downloads import hub_file

# Configs beside a file of weights: of timm, segmentation-models-pytorch and this package, and of transformers.
BESIDE = ("config.json", "preprocessor_config.json")
HOW_TO_DECLARE = "declare mean and std in a config.json beside the file to change it"


@dataclass(frozen=True)
class Normalisation:
    """(RGB in [0, 1] - mean) / std; `source` describes its origin."""

    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    source: str = "ImageNet's"

    def __str__(self) -> str:
        """Return a description in one line."""
        return f"images normalised by mean {_numbers(self.mean)} and std {_numbers(self.std)} ({self.source})"


def of(name: str, weights: str | None, key: str = KEY) -> Normalisation:
    """Return the normalisation of an encoder's weights: ImageNet's for random ones.

    Args:
        name: the encoder, as `wildseg.encoders.cnn.build.create` takes it.
        weights: None, a published set, or a local .safetensors file.
        key: the parameter that names the encoder, for error lines.

    Raises:
        DataError: a config beside the file has an invalid value.
        ModelError: the weights do not exist, are for images of another kind, or cannot be downloaded.
    """
    if weights is None:
        return Normalisation()
    if weights.endswith(".safetensors"):
        return _of_file(name, Path(weights), key)
    check(name, weights, key)
    if weights in packaged.PACKAGED:
        entry = packaged.PACKAGED[weights]
        return Normalisation(entry.mean, entry.std, f"as {weights} was published")
    if name.startswith(TIMM):
        cfg = timm_cfg(name, weights)
        declared = {"mean": cfg.mean, "std": cfg.std}
        return _read(declared, f"as timm published {cfg.tag or weights}", f"the weights {weights!r} of {name}")
    settings = smp.encoders.encoders[name]["pretrained_settings"][weights]
    what = f"{key}_weights: the weights {weights!r} of {name}"
    path = hub_file(what, settings["repo_id"], SMP[:1], settings["revision"], instead(key), SMP)
    return _read(_json(path), f"as {settings['repo_id']} was published", str(path))


def _of_file(name: str, path: Path, key: str) -> Normalisation:
    if (inside := _metadata(path, key)) and "mean" in inside:
        return _read(inside, "the file's own metadata", str(path))
    others = []
    for config in (path.with_suffix(".json"), *(path.parent / other for other in BESIDE)):
        if not config.is_file():
            continue
        content = _json(config)
        if other := _other_network(content, name):
            others.append(f"{config.name} beside it is of {other}")
        elif declared := _declared(content):
            return _read(declared, f"by {config.name} beside the file", str(config))
    return _assumed(name, others)


def _assumed(name: str, others: Sequence[str]) -> Normalisation:
    hints = "; ".join([*others, HOW_TO_DECLARE])
    for network in dict.fromkeys((split(name)[0], name.replace("-", "_"))):
        if timm.is_model(network) and (cfg := timm_cfg(name if name.startswith(TIMM) else f"{TIMM}{network}")):
            means = [timm_cfg(f"{TIMM}{network}.{tag}").mean for tag in tags_of(network)]
            differ = dict.fromkeys(mean for mean in means if mean != cfg.mean)
            also = f", whose other sets have mean {' or '.join(map(_numbers, differ))}" if differ else ""
            return Normalisation(tuple(cfg.mean), tuple(cfg.std), f"assumed: timm's for {network}{also}; {hints}")
    return Normalisation(source=f"assumed: ImageNet's; {hints}")


def _declared(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean, std, range and channel order from a config; empty if it has none."""
    inner = content.get("pretrained_cfg")
    both = {**content, **inner} if isinstance(inner, dict) else dict(content)
    if "image_mean" in both and "mean" not in both:
        both |= {"mean": both["image_mean"], "std": both.get("image_std")}
    return (
        {key: both[key] for key in ("mean", "std", "input_range", "input_space") if key in both}
        if "mean" in both
        else {}
    )


def _other_network(content: Mapping[str, Any], name: str) -> str:
    """Return the network that a config declares, if it is not the encoder `name`; else an empty string."""
    stated = content.get("encoder", content.get("architecture"))
    plain = lambda network: split(network)[0].partition(".")[0].replace("-", "_")  # noqa: E731
    return stated if isinstance(stated, str) and plain(stated) != plain(name) else ""


def _read(declared: Mapping[str, Any], source: str, where: str) -> Normalisation:
    """Check the config's values, and convert them to RGB in [0, 1]."""
    if (space := declared.get("input_space", "RGB")) != "RGB":
        raise ModelError(f"{where}: expected weights for RGB images, found {space!r}; use others")
    given = declared.get("input_range") or (0, 1)
    if not isinstance(given, (list, tuple)) or list(given) not in ([0, 1], [0, 255]):
        raise ModelError(f"{where}: expected an input_range of [0, 1] or [0, 255], found {given!r}; use others")
    high = given[1]
    mean, std = (_three(declared.get(key), key, where) for key in ("mean", "std"))
    if not 0 <= min(mean) <= max(mean) <= high:
        hint = "; divide mean and std by 255, or declare input_range: [0, 255]" if max(mean) > 1 else ""
        raise DataError(f"{where}: expected a mean within [0, {high}], found {list(mean)}{hint}")
    if min(std) <= 0:
        raise DataError(f"{where}: expected a std above 0, found {list(std)}")
    scaled = lambda values: tuple(value / high for value in values) if high != 1 else values  # noqa: E731
    return Normalisation(scaled(mean), scaled(std), source)


def _three(values: Any, key: str, where: str) -> tuple[float, float, float]:  # noqa: ANN401
    numbers = isinstance(values, (list, tuple)) and len(values) == 3
    if not numbers or not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise DataError(f"{where}: expected a {key} of three numbers, red, green and blue; found {values!r}")
    return float(values[0]), float(values[1]), float(values[2])


def _metadata(path: Path, key: str) -> dict[str, Any]:
    """Return the metadata of a file of weights; values are parsed as JSON where possible."""
    try:
        check_regular(path)
        with safe_open(path, "np") as file:
            stated = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{key}_weights: {path}: expected a .safetensors file ({error})") from error
    values: dict[str, Any] = {}
    for key, text in stated.items():
        try:
            values[key] = json.loads(text)
        except (ValueError, RecursionError):
            values[key] = text
    return _declared(values)


def _json(path: Path) -> dict[str, Any]:
    try:
        check_regular(path)
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected the config of the weights beside it, as JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected the config of the weights beside it, found {type(content).__name__}")
    return content


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
