"""Photos and masks in folders: beside each other, in two folders, or in two folders a split (CamVid, Cityscapes)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wildseg.core.errors import DataError
from wildseg.exchange import video_masks
from wildseg.exchange.dataset import (
    SPLITS,
    Dataset,
    Item,
    Key,
    check_folder,
    check_unique,
    folder_named,
    in_order,
    listed,
    photos_in,
    visible,
)

OF_PHOTOS = ("images", "image", "imgs", "img", "photos", "rgb", "JPEGImages", "leftImg8bit", "701_StillsRaw_full")
OF_MASKS = ("masks", "mask", "labels", "label", "annotations", "annot", "gt", "gtFine", "truth", "SegmentationClass",
            "LabeledApproved_full")  # fmt: skip
OF_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
# CamVid in the layout of SegNet has trainannot, in that of others train_labels.
BESIDE_SPLIT = ("{}annot", "{}_labels", "{}_masks", "{}_gt", "{}_annotations")
# What data sets append to the name of a photo to make that of its mask; and Cityscapes to both.
ADDED = re.compile(r"(_L|_mask|_masks|_labels?|_gt|_seg|_gtFine_labelIds|_gtFine_color|_leftImg8bit)$", re.IGNORECASE)
OTHERS = re.compile(r"_(instanceIds|polygons|labelTrainIds|color)$")  # of Cityscapes: more masks of the same photo
TABLE_NAMES = ("class_dict.csv", "label_colors.txt")

# The ids of CamVid's 11 classes in the layout of SegNet; the photos and colours are those of Brostow et al. 2009.
CAMVID_NAMES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
                "bicyclist", "ignore")  # fmt: skip
CAMVID: Mapping[Key, str] = dict(enumerate(CAMVID_NAMES))
# The 19 classes of Cityscapes by their ids in labelIds masks (Cordts et al. 2016); all others do not count.
CITYSCAPES_NAMES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
CITYSCAPES: Mapping[Key, str] = {id_: CITYSCAPES_NAMES.get(id_, "ignore") for id_ in range(34)}
TABLES: Mapping[str, Mapping[Key, str] | None] = {"masks": None, "camvid": CAMVID, "cityscapes": CITYSCAPES}


def find(folder: Path, layout: str, photos: str | None = None, masks: str | None = None) -> Dataset:
    """Return the photos of a folder with their masks, matched by name, or its videos with masks of frames.

    Args:
        folder: of the data set.
        layout: masks, camvid or cityscapes; the latter two define ids where no file beside the masks does.
        photos: the folder of photos inside `folder`; None searches for one with a usual name.
        masks: the same of masks.

    Raises:
        DataError: no photo, a mask without a photo, two masks of one photo, two photos of one name, or videos and
            neither masks of their frames nor of photos.
    """
    check_folder(folder, layout)
    videos = video_masks.find(folder, masks) if photos is None else []
    if any(video.masks for video in videos):
        folders = dict.fromkeys([mask.parent for video in videos for mask in list(video.masks.values())[:1]] + [folder])
        return Dataset((), TABLES[layout], tuple(folders), videos=tuple(videos))
    if not videos:
        return _photos(folder, layout, photos, masks)
    try:
        found = _photos(folder, layout, photos, masks)
    except DataError as error:
        raise video_masks.without_masks(folder, videos) from error
    if not any(item.mask for item in found.items):
        raise video_masks.without_masks(folder, videos)
    left_out = f"videos without masks were left out: {listed([video.path.name for video in videos])}"
    return replace(found, notes=(*found.notes, left_out))


def _photos(folder: Path, layout: str, photos: str | None, masks: str | None) -> Dataset:
    """Return the photos of a folder with their masks; arguments and errors as of `find`."""
    parts = _parts(folder, photos, masks)
    items: list[Item] = []
    notes: list[str] = []
    for split, photo_folder, mask_folder in parts:
        own, left = _paired(photo_folder, mask_folder)
        if left:
            raise DataError(f"{mask_folder}: expected a photo of each mask in {photo_folder}, {len(left)} masks have "
                            f"none: {listed(left)}")  # fmt: skip
        items += [replace(item, split=split) for item in own]
    if not items:
        raise DataError(f"{folder}: expected photos and masks: beside each other as 1.jpg and 1.png, in two folders "
                        f"such as images and masks, or train and trainannot; found none; name them by --photos and "
                        f"--masks")  # fmt: skip
    check_unique(folder, items)
    if without := [item.name for item in items if item.mask is None]:
        notes.append(f"{len(without)} of {len(items)} photos have no mask: {listed(without)}")
    folders = dict.fromkeys([*(mask for _, _, mask in parts), folder])
    return Dataset(in_order(items), TABLES[layout], tuple(folders), tuple(notes))


def _parts(folder: Path, photos: str | None, masks: str | None) -> list[tuple[str | None, Path, Path]]:
    """Return (split, folder of photos, folder of masks) of each part."""
    for name in (photos, masks):
        if name is not None and not (folder / name).is_dir():
            raise DataError(f"{folder / name}: expected a folder of the data set, found none")
    photo_folder = folder / photos if photos is not None else folder_named(folder, OF_PHOTOS)
    mask_folder = folder / masks if masks is not None else folder_named(folder, OF_MASKS)
    if photo_folder is None and (split := _parts_beside(folder)):
        return split
    photo_folder, mask_folder = photo_folder or folder, mask_folder or folder
    inner = {split: folder_named(photo_folder, names) for split, names in OF_SPLITS.items()}
    if any(inner.values()) and not photos_in(photo_folder):
        return [(split, found, folder_named(mask_folder, OF_SPLITS[split]) or mask_folder / split)
                for split, found in inner.items() if found]  # fmt: skip
    return [(None, photo_folder, mask_folder)]


def _parts_beside(folder: Path) -> list[tuple[str | None, Path, Path]]:
    found: list[tuple[str | None, Path, Path]] = []
    for split in SPLITS:
        photos = folder_named(folder, OF_SPLITS[split])
        if photos is None:
            continue
        inside = folder_named(photos, OF_PHOTOS), folder_named(photos, OF_MASKS)
        beside = folder_named(folder, [form.format(photos.name) for form in BESIDE_SPLIT])
        if inside[0] and inside[1]:
            found.append((split, inside[0], inside[1]))
        else:
            found.append((split, photos, beside or photos))
    return found


def _paired(photos: Path, masks: Path) -> tuple[list[Item], list[str]]:
    """Return the photos with their masks, and the names of masks without a photo; folders inside are read, too."""
    photo_paths, mask_paths = _deep(photos), _deep(masks)
    if photos != masks:
        photo_paths = [path for path in photo_paths if not path.is_relative_to(masks)]
        mask_paths = [path for path in mask_paths if not path.is_relative_to(photos) or masks.is_relative_to(photos)]
        if lossy := [path.name for path in mask_paths if path.suffix.lower() != ".png"]:
            raise DataError(f"{masks}: expected masks as PNG, found {listed(lossy)}; JPEG changes ids and colours")
    mask_paths = [path for path in mask_paths if path.suffix.lower() == ".png"]
    if photos == masks:  # 1.jpg and 1.png, or 1.png and 1_mask.png
        marked = [path for path in mask_paths if ADDED.search(path.stem)]
        others = [path for path in photo_paths if path.suffix.lower() != ".png"]
        if others:
            photo_paths = others
        else:
            mask_paths = marked
            photo_paths = [path for path in photo_paths if path not in marked]
    by_name: dict[str, Path] = {}
    for path in mask_paths:
        if OTHERS.search(path.stem):
            continue
        if (other := by_name.setdefault(_bare(path), path)) != path:
            raise DataError(f"{masks}: expected one mask of each photo, found {other.name} and {path.name}")
    items = []
    for path in photo_paths:
        mask = by_name.pop(path.stem, None) or by_name.pop(_bare(path), None)
        items.append(Item(_bare(path), path, mask))
    return items, [path.name for path in by_name.values()]


def _deep(folder: Path) -> list[Path]:
    inner = [path for path in visible(folder) if path.is_dir()]
    return photos_in(folder) + [photo for one in inner for photo in photos_in(one)]


def _bare(path: Path) -> str:
    bare = ADDED.sub("", path.stem)
    return bare or path.stem


def table_files(folders: Sequence[Path]) -> list[Path]:
    """Return tables of classes of other data sets: class_dict.csv, and CamVid's own label_colors.txt."""
    return [path for folder in folders for name in TABLE_NAMES if (path := folder / name).exists()]
