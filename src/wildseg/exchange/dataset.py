"""A data set of another layout as it lies in its folder: photos, masks, splits, and names of the classes they show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wildseg.core.errors import DataError

SPLITS = ("train", "val", "test")
PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".jp2")
SHOWN = 3  # names that a line lists

Key = int | tuple[int, int, int]  # an id, or a colour


@dataclass(frozen=True)
class Item:
    """A photo: `name` in the data set; `mask` and `split`, if it has one; `labels`, if the data set lists them."""

    name: str
    photo: Path
    mask: Path | None = None
    split: str | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Video:
    """A video: `masks` by the number of the decoded frame, from 0."""

    name: str
    path: Path
    masks: Mapping[int, Path]


@dataclass(frozen=True)
class Dataset:
    """The photos of a data set, or its videos.

    items: in the order of their splits (train, val, test, none), and of their names.
    table: the name of each id or colour in masks, by the layout's own definition; None where a file defines it.
    table_folders: where such a file is searched, nearest first.
    notes: a line for each thing that was left out.
    videos: with masks of some frames; then there are no items.
    """

    items: tuple[Item, ...]
    table: Mapping[Key, str] | None
    table_folders: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    videos: tuple[Video, ...] = ()


def in_order(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return items in the order of their splits, and of their names, in which numbers count as numbers."""
    places = {split: place for place, split in enumerate(SPLITS)}
    return tuple(sorted(items, key=lambda item: (places.get(item.split or "", len(SPLITS)), natural(item.name))))


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts ``img_9`` before ``img_10``."""
    pieces = re.split(r"(\d+)", name.casefold())
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], name


def photos_in(folder: Path) -> list[Path]:
    """Return the photos that lie directly in a folder, without hidden files."""
    return [path for path in visible(folder) if path.suffix.lower() in PHOTOS and not path.is_dir()]


def visible(folder: Path) -> list[Path]:
    """Return what lies in a folder, in the order of names, without hidden files; nothing where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda p: natural(p.name))


def folder_named(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first folder inside `folder` that has one of these names in any letter case."""
    inside = {path.name.casefold(): path for path in visible(folder) if path.is_dir()}
    return next((inside[name.casefold()] for name in names if name.casefold() in inside), None)


def check_folder(folder: Path, layout: str) -> None:
    """Raise a DataError unless `folder` is a folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: expected the folder of a data set in the layout {layout!r}, found "
                        f"{'a file' if folder.exists() else 'nothing'}")  # fmt: skip


def check_unique(folder: Path, items: Sequence[Item]) -> None:
    """Raise a DataError where two photos have the same name."""
    if twice := [name for name, times in Counter(item.name for item in items).items() if times > 1]:
        raise DataError(f"{folder}: expected one photo of each name, found {listed(twice)} more than once")


def listed(names: Sequence[str]) -> str:
    """Return the number of names, if there are many, and the first of them."""
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
