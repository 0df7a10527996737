"""Parameters and metrics as MLflow stores them: flat names with dots, values as text or as finite numbers."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from wildseg.core.classes import Classes
from wildseg.core.lookup import METHODS, named

if TYPE_CHECKING:
    from wildseg.execution.params import Params

LONGEST_KEY = 250
LONGEST_VALUE = 500  # letters of a value: older servers of MLflow take no more
SHOWN = 200  # letters of a longer one
LONG_VALUES = "long_parameters.json"  # the artifact that holds those as wholes


def flatten_params(params: Params, without: str = "") -> dict[str, str]:
    """Return ``{"cam.method": "gradcam", ...}``, without the section `without` and methods that were not chosen."""
    chosen: dict[str, set[str]] = {}
    for section, key, *_ in METHODS:
        chosen.setdefault(f"{section}.options", set()).update(named(getattr(getattr(params, section), key)))
    flat: dict[str, str] = {}
    for key, value in _leaves("", params):
        section = ".".join(key.split(".")[:2])
        if key.split(".")[0] == without or (section in chosen and not chosen[section] & set(key.split(".")[2:3])):
            continue
        flat[unique_name(key, flat)] = _text(value)
    return flat


def flatten_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested plain values as `flatten_params` does parameters."""
    flat: dict[str, str] = {}
    for key, value in _leaves("", values):
        flat[unique_name(key, flat)] = _text(value)
    return flat


def shortened(flat: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return values as MLflow holds them, and as wholes those that are too long: by name, both.

    A short value begins as the long one, and says where that is; two long ones are never the same short one.
    """
    long = {key: text for key, text in flat.items() if len(text) > LONGEST_VALUE}
    where = {
        key: f"{text[:SHOWN]} ... ({len(text)} letters, sha256 {_digest(text)}; whole in the artifact {LONG_VALUES})"
        for key, text in long.items()
    }
    return {**flat, **where}, long


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def grouped_metrics(groups: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics with the names by which MLflow's page groups charts, at their slashes.

    Args:
        groups: measures by level or stage, ``{"segmenter": {"iou.lawn": 0.7}}``, which becomes ``segmenter/iou.lawn``;
            levels under ``unseen`` become ``segmenter/held_out/iou.lawn``. Numbers beside the groups are left out.
    """
    parts: list[tuple[str, Any]] = []
    for name, values in groups.items():
        if name == "unseen" and isinstance(values, Mapping):
            parts += [(f"{level}/held_out", inner) for level, inner in values.items()]
        else:
            parts.append((name, values))
    flat: dict[str, float] = {}
    for group, values in parts:
        for key, value in _leaves("", values) if isinstance(values, Mapping) and values else ():
            if isinstance(value, (int, float)) and math.isfinite(value):
                flat[unique_name(f"{group}/{key.replace('/', ':')}", flat)] = float(value)
    return flat


def unique_name(key: str, taken: Mapping[str, object]) -> str:
    """Return `key` with what MLflow does not take as a name replaced by ``_``, and a number if it is `taken`."""
    name = re.sub(r"[^/\w.\- :]", "_", key)[: LONGEST_KEY - 4]
    numbered = (name, *(f"{name}_{number}" for number in range(2, 256)))
    return next(candidate for candidate in numbered if candidate not in taken)


def _leaves(key: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Classes):
        value = dict(zip(value.names, value.phrases, strict=True))
    elif is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}" if key else str(name), item)
    elif key:
        yield key, value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
