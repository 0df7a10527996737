"""Parameters by their names in the last version: understood once more, and then no longer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wildseg.core.errors import ParamsError

# Old dotted name: the last part of the new one.
RENAMED = {
    "label.options.tagclip.look_again": "reidentify",
    "label.options.tagclip.positions": "pos_embed_interpolation",
    "label.options.tagclip.clip_boxes": "exclusive_box_ends",
    "cam.positions": "pos_embed_interpolation",
    "cam.caa.clip_boxes": "exclusive_box_ends",
    "crf.confidence": "min_confidence",
    "train.mu": "min_confidence",
}


def new_name(old: str) -> str:
    """Return the whole new name of a parameter, from its whole old one."""
    return f"{old.rpartition('.')[0]}.{RENAMED[old]}"


def found(content: object) -> list[str]:
    """Return the old names that stand in the content of a params.yaml.

    Raises:
        ParamsError: a parameter stands there by its old and its new name.
    """
    return [old for old in RENAMED if _stands(content, old)]


def _stands(content: object, old: str) -> bool:
    section: Any = content
    *parents, name = old.split(".")
    for parent in parents:
        section = section.get(parent) if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping) or name not in section:
        return False
    if RENAMED[old] in section:
        raise ParamsError(f"{old}: this is the old name of {new_name(old)}, which stands there too; remove {old}")
    return True


def with_new_names(content: Any, olds: list[str], key: str = "") -> Any:  # noqa: ANN401
    """Return a copy of `content` in which the old names `olds` are replaced; the order of keys stays."""
    if not olds or not isinstance(content, Mapping):
        return content
    copy = {}
    for name, value in content.items():
        inner = f"{key}.{name}" if key else str(name)
        below = [old for old in olds if old.startswith(f"{inner}.")]
        copy[RENAMED[inner] if inner in olds else name] = with_new_names(value, below, inner)
    return copy


def line(olds: list[str]) -> str:
    """Return what to print where old names were found."""
    pairs = ", ".join(f"{old} is now {new_name(old)}" for old in olds)
    return f"{pairs}; the old names are read by this version alone, 'wildseg init --update' replaces them"
