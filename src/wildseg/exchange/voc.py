"""PASCAL VOC: its folders, lists of photos, names of ids, colours, and names of the objects of a photo.

Everingham et al., "The PASCAL Visual Object Classes Challenge 2012 (VOC2012) Development Kit", section 2 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wildseg.core.errors import DataError
from wildseg.core.files import load_bytes
from wildseg.exchange import xml
from wildseg.exchange.dataset import SPLITS, Dataset, Item, Key, check_folder, in_order, listed, photos_in, visible

NAMES = ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
         "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
         "tvmonitor")  # fmt: skip
PHOTOS, MASKS, LISTS, OBJECTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations"
VOID = (224, 224, 192)  # the colour of id 255


def palette() -> np.ndarray:
    """Return VOC's colours by id, (256, 3) uint8: the bits of an id, three at a time, from the top of a channel."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for step in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * step + channel) & 1) << (7 - step)).astype(np.uint8)
    return colours


def table() -> dict[Key, str]:
    """Return the names of VOC's ids and colours."""
    colours = palette()
    names: dict[Key, str] = {255: "ignore", VOID: "ignore"}
    for id_, name in enumerate(NAMES):
        names[id_] = names[_colour(colours[id_])] = name
    return names


def _colour(row: np.ndarray) -> tuple[int, int, int]:
    return int(row[0]), int(row[1]), int(row[2])


def find(
    folder: Path, lists: Mapping[str, str] | None = None, masks: str | None = None, *, objects: bool = True
) -> Dataset:
    """Return the photos that the lists of a VOC folder name.

    Args:
        folder: with JPEGImages, or one that contains a single such folder.
        lists: of each split the name of a list in ImageSets/Segmentation, such as ``{"train": "train_aug"}``; none
            takes train, val and test, as far as there are such.
        masks: the folder of masks, such as SegmentationClassAug.
        objects: read the names of objects in Annotations.

    Raises:
        DataError: no such folder, list, or photo of a list; a photo in two splits; a malformed annotation.
    """
    check_folder(folder, "voc")
    root = _root(folder)
    mask_folder = root / (masks or MASKS)
    if masks is not None and not mask_folder.is_dir():
        raise DataError(f"{mask_folder}: expected a folder of masks, found none")
    split_of = _splits(root, lists or {})
    photos = {path.stem: path for path in photos_in(root / PHOTOS)}
    if missing := [name for name in split_of if name not in photos]:
        raise DataError(f"{root / PHOTOS}: expected the photos that {LISTS} lists, {len(missing)} of {len(split_of)} "
                        f"are missing: {listed(missing)}")  # fmt: skip
    items = []
    for name in split_of or photos:
        mask = mask_folder / f"{name}.png"
        note = root / OBJECTS / f"{name}.xml"
        labels = object_names(note) if objects and note.exists() else None
        items.append(Item(name, photos[name], mask if mask.exists() else None, split_of.get(name), labels))
    notes = []
    if unlisted := len(photos) - len(items):
        notes.append(f"{unlisted} photos are in none of the lists and were left out")
    if without := [item.name for item in items if item.mask is None]:
        notes.append(f"{len(without)} of {len(items)} photos have no mask: {listed(without)}")
    return Dataset(in_order(items), table(), (mask_folder, root), tuple(notes))


def _root(folder: Path) -> Path:
    if (folder / PHOTOS).is_dir():
        return folder
    found = [path for path in visible(folder) if (path / PHOTOS).is_dir()]
    if len(found) != 1:
        raise DataError(f"{folder}: expected a folder with {PHOTOS}, such as VOCdevkit/VOC2012, found "
                        f"{listed([path.name for path in found]) if found else 'none'}")  # fmt: skip
    return found[0]


def _splits(root: Path, lists: Mapping[str, str]) -> dict[str, str]:
    """Return the split of each photo that a list names."""
    folder = root / LISTS
    chosen = dict(lists) or {split: split for split in SPLITS if (folder / f"{split}.txt").exists()}
    split_of: dict[str, str] = {}
    twice: list[str] = []
    for split, name in chosen.items():
        path = folder / f"{name}.txt"
        if not path.exists():
            known = [one.stem for one in visible(folder) if one.suffix == ".txt"]
            raise DataError(
                f"{path}: expected a list of photos, found none; there are {', '.join(known) or 'no lists'}"
            )
        for photo in read_list(path):
            if split_of.setdefault(photo, split) != split:
                twice.append(photo)
    if twice:
        raise DataError(f"{folder}: expected each photo in one split, {len(twice)} are in several: {listed(twice)}")
    return split_of


def read_list(path: Path) -> list[str]:
    """Return the names in a list of photos, one a line; of augmented lists, which hold two paths, that of the photo.

    Raises:
        DataError: missing, or not UTF-8.
    """
    try:
        lines = load_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8 ({error})") from error
    return [_name(line.strip()) for line in lines if line.strip()]


def _name(line: str) -> str:
    if not line.startswith(f"/{PHOTOS}/"):
        return line  # names may hold spaces
    return line.split()[0].rpartition("/")[2].rpartition(".")[0]


def object_names(path: Path) -> tuple[str, ...]:
    """Return the names of the objects of an annotation, each once, in order.

    Raises:
        DataError: missing or malformed.
    """
    root = xml.parse(path, load_bytes(path))
    names = [(one.findtext("name") or "").strip() for one in root.iter("object")]
    if "" in names:
        raise DataError(f"{path}: expected the name of each object, found one without")
    return tuple(dict.fromkeys(names))


# Writing ---------------------------------------------------------------------------------------------------------


def label_map_lines(names: Sequence[str], colours: np.ndarray) -> str:
    """Return labelmap.txt, by which CVAT reads the colours of masks: ``name:red,green,blue::`` by id."""
    lines = ["# label:color_rgb:parts:actions"]
    lines += [f"{name}:{','.join(map(str, _colour(colours[id_])))}::" for id_, name in enumerate(names)]
    return "\n".join(lines) + "\n"
