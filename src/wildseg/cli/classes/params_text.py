"""params.yaml with other classes: their section, and the parameters that name classes; comments stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from wildseg.cli.classes.change import Change
from wildseg.core import yaml_files
from wildseg.core.errors import ParamsError
from wildseg.core.yaml_document import Document
from wildseg.execution import params

# Parameters with a value by class, and what becomes of several values of classes that are merged: of thresholds the
# lowest, so that what passed one still passes.
BY_CLASS: dict[str, Callable[[list[Any]], Any]] = {
    "colours": lambda texts: texts[0],
    "label.threshold": min,
    "label.language.definitions": lambda texts: "; ".join(dict.fromkeys(texts)),
    "cam.options.clims.background": lambda lists: list(dict.fromkeys(chain.from_iterable(lists))),
}
LISTED = ("train", "hold_out")


def edited(text: str, change: Change, path: Path) -> str:
    """Return the text of params.yaml after a change.

    Raises:
        ParamsError: a parameter would mean nothing, or the file has anchors, which would change with their aliases.
    """
    content = yaml_files.parse(text, path)
    document = Document(text)
    _classes(document, change)
    for keys, combine in BY_CLASS.items():
        _by_class(document, content, tuple(keys.split(".")), change, combine)
    _listed(document, content, change)
    result = document.text()
    after = yaml_files.parse(result, path)
    found = params.parse(after).classes  # all of it is valid
    wanted = {name: tuple(phrases) for name, phrases in change.new.items()}
    if dict(zip(found.names, found.phrases, strict=True)) != wanted or found.names != tuple(change.new):
        raise ParamsError(
            f"{path}: classes cannot be changed among anchors and aliases (& and *); write the values out"
        )
    return result


def _classes(document: Document, change: Change) -> None:
    old, new = list(change.old), change.new
    for name, better in change.names.items():
        section = document.top["classes"]
        if better is None:  # its parts are added where the file ends the section, and then put in order
            continue
        if better == name or better not in section:
            if better != name:
                document.rename(["classes", name], better)
        elif better in old or name in section:
            document.remove(["classes", name])
    for name in change.old:
        if change.names[name] is None:
            parts = {part: list(new[part]) for part in new if part not in old or part == name}
            document.change({"classes": parts})
            if name not in new:
                document.remove(["classes", name])
    changed = {
        name: list(phrases) for name, phrases in new.items() if not _same(document.top["classes"].get(name), phrases)
    }
    if changed:
        document.change({"classes": changed})
    if list(document.top["classes"]) != list(new):
        document.reorder(["classes"], list(new))


def _same(written: Any, phrases: Any) -> bool:  # noqa: ANN401
    return ([written] if isinstance(written, str) else list(written or ())) == list(phrases)


def _by_class(
    document: Document,
    content: Any,  # noqa: ANN401
    keys: tuple[str, ...],
    change: Change,
    combine: Callable[[list[Any]], Any],  # noqa: ANN401
) -> None:
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping):
        return
    values: dict[str, list[Any]] = {}
    for name, value in content.items():
        better = change.names.get(name)
        if better is not None:
            values.setdefault(better, []).append(value)
    for name in content:
        better = change.names.get(name)
        if better is None or (better != name and better in _section(document, keys)):
            document.remove([*keys, name])
        elif better != name:
            document.rename([*keys, name], better)
    for name, several in values.items():
        if len(several) > 1:
            _section(document, keys)[name] = combine(several)


def _section(document: Document, keys: tuple[str, ...]) -> Any:  # noqa: ANN401
    section = document.top
    for key in keys:
        section = section[key]
    return section


def _listed(document: Document, content: Any, change: Change) -> None:  # noqa: ANN401
    section, key = LISTED
    own = content.get(section) if isinstance(content, Mapping) else None
    names = own.get(key) if isinstance(own, Mapping) else None
    if not isinstance(names, list) or not names:
        return
    after = list(dict.fromkeys(change.names.get(name) for name in names))
    for name in after:
        parts = {old for old, new in change.names.items() if new == name}
        if name is None or not parts <= set(names):
            raise ParamsError(
                f"{section}.{key}: it holds some of the classes of '{change.what}' and not others; change it first"
            )
    if after != names:
        document.change({section: {key: after}})
