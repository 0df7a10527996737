"""The keys of params.yaml by which the pipeline uses an imported data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wildseg.core.classes import Classes
from wildseg.stages.exchange.splits import shares


def changes_for(name: str, splits: Sequence[str | None], classes: Classes | None, *, labelled: bool) -> dict[str, Any]:
    """Return the keys of params.yaml by which the pipeline uses an imported data set, nested as there.

    Args:
        name: of the data set in the project.
        splits: of each photo, in the order of the folder.
        classes: those to write, or None.
        labelled: whether there are image labels.
    """
    extract: dict[str, Any] = {
        "source": f"data/raw/{name}",
        "method": "uniform",  # every photo counts: none is left out for being like another
        "duplicate_bits": None,
    }
    if all(splits) and (found := shares([split or "" for split in splits])):
        extract |= {"val": found[0], "test": found[1]}
    changes: dict[str, Any] = {"extract": extract}
    if labelled:
        changes["label"] = {"method": "given", "options": {"given": {"path": f"data/labels/{name}.csv"}}}
    if classes is not None:
        changes["classes"] = {name: list(own) for name, own in zip(classes.names, classes.phrases, strict=True)}
    return changes


def command_line(changes: Mapping[str, Any]) -> str:
    """Return the options of `dvc exp run` that set the changes, but for classes."""
    flat = _flat({key: value for key, value in changes.items() if key != "classes"}, "")
    return " ".join(f"-S {key}={'null' if value is None else value}" for key, value in flat)


def _flat(changes: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in changes.items():
        inner = f"{prefix}{key}"
        found += _flat(value, f"{inner}.") if isinstance(value, Mapping) else [(inner, value)]
    return found
