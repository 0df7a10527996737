"""Classes that a trained model of an open-vocabulary architecture is given by words, without training.

An architecture is open where it embeds the phrases of classes (``NEEDS = frozenset({"phrases"})``). What is here reads
and changes configs alone, so that mistakes are found before any network is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wildseg.core import lookup
from wildseg.core.classes import BACKGROUND, Classes
from wildseg.core.errors import ModelError, ParamsError

PHRASES = "phrases"  # what an open-vocabulary architecture needs of the classes
NAMED = "encoder_weights"  # in a config: the weights of an encoder that is not saved with the network
HELD_OUT = "held_out"  # in a config: the classes that were left out of training
ARCHITECTURES = "methods.architectures"


def open_architectures() -> list[str]:
    """Return the names of the open-vocabulary architectures, whose encoder is a frozen CLIP."""
    return [name for name in lookup.available(ARCHITECTURES) if PHRASES in lookup.needs(ARCHITECTURES, name)]


def check_open(architecture: str, key: str) -> None:
    """Raise a ParamsError unless an architecture is open-vocabulary; `key` is what asked for it, for the error line."""
    known = open_architectures()
    if architecture not in known:
        raise ParamsError(
            f"{key}: expected an open-vocabulary architecture, {' or '.join(known)}; {architecture} knows only the "
            "classes that it is trained on"
        )


def classes_of(words: Sequence[str] | Mapping[str, Sequence[str] | str] | Classes, key: str) -> Classes:
    """Return classes whose names are their only phrases, of words; or those of names with phrases.

    Raises:
        ParamsError: an empty word, one that occurs twice, none or too many, or one that can be no name.
    """
    if isinstance(words, Classes):
        return words
    if isinstance(words, str) or not isinstance(words, Mapping | Sequence):
        raise ParamsError(f"{key}: expected a list of words, found {words!r}")
    if isinstance(words, Mapping):
        return _checked(words, key)
    names: dict[str, str] = {}
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise ParamsError(f"{key}: expected words, found {word!r} in {','.join(map(str, words))!r}")
        if (text := word.strip()).lower() in {name.lower() for name in names}:
            raise ParamsError(f"{key}: expected each word once, found {text!r} twice (letter case does not count)")
        names[text] = text
    return _checked(names, key)


def _checked(mapping: Mapping[str, Sequence[str] | str], key: str) -> Classes:
    try:
        return Classes(mapping)
    except ParamsError as error:  # of the section classes, which these do not stand in
        raise ParamsError(key + str(error).removeprefix("classes")) from error


def with_classes(config: Mapping[str, Any], classes: Classes, key: str) -> dict[str, Any]:
    """Return the config of a model for other classes, with a background where it had one.

    Raises:
        ParamsError: its architecture knows only the classes that it was trained on, or one class is all there is.
    """
    check_open(str(config.get("architecture")), key)
    first = BACKGROUND if BACKGROUND in config["ids"] else BACKGROUND + 1
    if first and len(classes) == 1:
        raise ParamsError(
            f"{key}: expected two words or more, as this model has no background and every pixel would be of the one; "
            f"found {classes.names[0]!r}"
        )
    known = {name: value for name, value in config.items() if name != HELD_OUT}
    return known | {"classes": list(classes.names), "ids": list(range(first, len(classes) + 1))}


def found_weights(config: Mapping[str, Any], where: str) -> str:
    """Return what a config names as the weights of its encoder: the path of a file, or a published set.

    A file is looked up in `where`, in the folders that this lies in, the nearest first, and in the working folder.

    Raises:
        ModelError: it is in none of them.
    """
    named = str(config.get(NAMED))
    if not named.endswith(".safetensors"):
        return named
    folders = [Path(where), *Path(where).absolute().parents, Path()]
    for folder in folders:
        if (path := folder / named).is_file():
            return str(path)
    raise ModelError(
        f"{where}: expected the weights of the CLIP of this model, {named}, in the working folder or in one "
        "that the model lies in; found none"
    )
