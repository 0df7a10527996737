"""`wildseg import`: which reader a layout has, and classes as a part of params.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wildseg.core.classes import Classes
from wildseg.core.errors import WildsegError
from wildseg.core.yaml_document import Document
from wildseg.exchange import mask_folders, voc
from wildseg.exchange.dataset import SPLITS, Dataset


def find(
    folder: Path, layout: str, photos: str | None, masks: str | None, lists: Sequence[str], labels: str
) -> Dataset:
    """Return the data set in a folder.

    Raises:
        WildsegError: an option that the layout does not have, or no such data set.
    """
    if layout != "voc":
        if lists:
            raise WildsegError(f"--split: only the layout voc has lists, found {lists[0]!r} for {layout}")
        return mask_folders.find(folder, layout, photos, masks)
    if photos is not None:
        raise WildsegError(f"--photos: the photos of voc are in {voc.PHOTOS}, found {photos!r}")
    chosen = {}
    for text in lists:
        split, equals, name = text.partition("=")
        if not equals or split not in SPLITS or not name:
            raise WildsegError(f"--split: expected {', '.join(SPLITS)} and the name of a list, such as "
                               f"train=train_aug; found {text!r}")  # fmt: skip
        chosen[split] = name
    return voc.find(folder, chosen, masks, objects=labels in ("auto", "objects"))


def as_yaml(classes: Classes) -> str:
    """Return classes as the section of params.yaml."""
    document = Document("classes: {}\n")
    own = {name: list(phrases) for name, phrases in zip(classes.names, classes.phrases, strict=True)}
    document.change({"classes": own}, frozenset({"classes"}))
    return document.text().rstrip()
