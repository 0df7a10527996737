"""Presets: small files laid over params.yaml, each a starting point with a name (`wildseg init voc clip_es`).

A preset is ``presets/<name>.yaml``: its first line says what it is for, and below stand the keys of params.yaml that it
sets. Classes and background phrases are taken as wholes, everything else key by key.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wildseg.core import yaml_files
from wildseg.core.errors import ParamsError, did_you_mean
from wildseg.core.files import atomic
from wildseg.core.yaml_document import Document
from wildseg.execution import defaults, params, renamed

FOLDER = Path(__file__).parent / "presets"
WHOLE = frozenset({"classes", "background"})
SHOWN = 60  # characters of a value in the line that says how it changed


def available() -> dict[str, str]:
    """Return what each preset is for, by its name."""
    return {path.stem: _purpose(path) for path in sorted(FOLDER.glob("*.yaml"))}


def _purpose(path: Path) -> str:
    return yaml_files.text_of(path).split("\n", 1)[0].lstrip("# ")


def combined(names: Sequence[str]) -> dict[str, Any]:
    """Return what the presets set together, nested as in params.yaml; later ones win.

    Raises:
        ParamsError: there is no such preset.
    """
    known = available()
    for name in names:
        if name not in known:
            raise ParamsError(f"init: expected presets ({', '.join(known)}), found {name!r}{did_you_mean(name, known)}")
    together: dict[str, Any] = {}
    for name in names:
        together = _laid_over(together, yaml_files.load(FOLDER / f"{name}.yaml"))
    return together


def init(path: Path, names: Sequence[str], *, update: bool = False, dry_run: bool = False) -> list[str]:
    """Lay presets over the params.yaml at `path`, and return one line for each key that changed; see `lay_over`.

    Raises:
        ParamsError: no such file or preset, or the result would not be valid; then nothing is written.
    """
    return lay_over(path, combined(names), update=update, dry_run=dry_run)


def lay_over(path: Path, changes: Mapping[str, Any], *, update: bool = False, dry_run: bool = False) -> list[str]:
    """Write what `changes` sets into the params.yaml at `path`, and return one line for each key that changed.

    Old names of parameters are replaced. With `update`, keys that the file lacks are written in, with their defaults
    and the comments of the params.yaml that wildseg ships. Nothing is written where nothing changes, or with `dry_run`.
    Comments, order and layout of what stays are kept.

    Raises:
        ParamsError: no such file, or the result would not be valid; then nothing is written.
    """
    try:
        text = yaml_files.text_of(path)
    except OSError as error:
        raise ParamsError(
            f"{path}: expected the parameters that presets are laid over ({error.strerror}); run in the folder of "
            "dvc.yaml"
        ) from error
    before = yaml_files.parse(text, path)
    if not isinstance(before, Mapping):
        raise ParamsError(f"{path}: expected sections with keys, found {type(before).__name__}")
    document = Document(text)
    olds = renamed.found(before)
    for old in olds:
        document.rename(old.split("."), renamed.RENAMED[old])
    before = renamed.with_new_names(before, olds)
    complete = before
    for key in defaults.missing(before) if update else []:
        value = defaults.value_of(key, params.signatures())
        document.insert(key, value, defaults.template())
        complete = _laid_over(complete, _nested(key, value))
    after = _laid_over(complete, changes)
    params.parse(after)
    lines = [f"{old} -> {renamed.new_name(old)}" for old in olds] + _differences(before, after, "")
    document.change(_needed(complete, changes), WHOLE)
    edited = document.text()
    if not _says(edited, after):  # an alias speaks for its anchor, and would change with it
        raise ParamsError(f"{path}: presets cannot be laid over anchors and aliases (& and *); write the values out")
    if lines and not dry_run:
        _replace(path.resolve(), edited)
    return lines


def _nested(path: Sequence[str], value: object) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value  # type: ignore[return-value]


def _laid_over(below: Any, above: Any, key: str = "") -> Any:  # noqa: ANN401
    if key in WHOLE or not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    merged = dict(below)
    for name, value in above.items():
        inner = f"{key}.{name}" if key else str(name)
        merged[name] = _laid_over(below.get(name), value, inner)
    return merged


def _needed(below: Any, above: Mapping[str, Any], key: str = "") -> dict[str, Any]:  # noqa: ANN401
    """Return the part of `above` that says something else than `below`."""
    parts: dict[str, Any] = {}
    for name, value in above.items():
        inner = f"{key}.{name}" if key else str(name)
        old = below.get(name)
        if inner not in WHOLE and isinstance(value, Mapping) and isinstance(old, Mapping):
            if part := _needed(old, value, inner):
                parts[name] = part
        elif name not in below or not _same(old, value):
            parts[name] = value
    return parts


def _differences(before: Any, after: Any, key: str) -> list[str]:  # noqa: ANN401
    if key not in WHOLE and isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for name, value in after.items():
            inner = f"{key}.{name}" if key else str(name)
            found += (
                _differences(before[name], value, inner) if name in before else [f"{inner}: (new) -> {_short(value)}"]
            )
        return found
    return [] if _same(before, after) else [f"{key}: {_short(before)} -> {_short(after)}"]


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401
    # The order of classes counts, it gives them their ids; and true is not 1.
    return type(one) is type(other) and (
        list(one.items()) == list(other.items()) if isinstance(one, Mapping) else one == other
    )


def _short(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Mapping) and len(value) > 2 and all(isinstance(item, (list, str)) for item in value.values()):
        names = list(value)
        return f"{len(names)} classes, {names[0]} ... {names[-1]}"
    if isinstance(value, list) and len(value) > 3:
        kind = "phrases" if isinstance(value[0], str) else "entries"
        return f"{len(value)} {kind}, {value[0]} ... {value[-1]}"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 4] + " ..."


def _says(text: str, meant: object) -> bool:
    try:
        return yaml_files.parse(text, Path("params.yaml")) == meant
    except ParamsError:
        return False


def _replace(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
        shutil.copymode(path, temporary)
