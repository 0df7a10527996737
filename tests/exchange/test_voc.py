"""PASCAL VOC: its colours by a plain loop, its lists, and names of objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from wildseg.core.errors import DataError
from wildseg.exchange import voc
from wildseg.execution import presets


def make(root: Path, photos: str, **lists: str) -> Path:
    for name in photos.split():
        for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"{name}.{suffix}").touch()
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for name, text in lists.items():
        (root / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(text.split()) + "\n", encoding="utf-8")
    return root


def colour(id_: int) -> list[int]:
    """The colour of an id as the development kit's VOClabelcolormap works it out."""
    red = green = blue = 0
    rest = id_
    for bit in range(7, -1, -1):
        red |= (rest & 1) << bit
        green |= (rest >> 1 & 1) << bit
        blue |= (rest >> 2 & 1) << bit
        rest >>= 3
    return [red, green, blue]


def test_colours_are_those_of_the_development_kit() -> None:
    assert voc.palette().tolist() == [colour(id_) for id_ in range(256)]
    assert tuple(voc.palette()[255]) == voc.VOID
    assert voc.palette()[15].tolist() == [192, 128, 128]  # person


def test_the_classes_are_those_of_the_preset_in_the_same_order() -> None:
    assert list(voc.NAMES[1:]) == list(presets.combined(["voc"])["classes"])
    table = voc.table()
    assert table[15] == table[192, 128, 128] == "person"
    assert table[255] == table[224, 224, 192] == "ignore"


def test_lists_are_splits_and_unlisted_photos_are_left_out(tmp_path: Path) -> None:
    root = make(tmp_path / "VOCdevkit" / "VOC2012", "a b c d", train="b", val="a c", trainval="a b c")
    dataset = voc.find(tmp_path / "VOCdevkit")
    assert [(item.name, item.split) for item in dataset.items] == [("b", "train"), ("a", "val"), ("c", "val")]
    assert dataset.items[0].mask == root / "SegmentationClass/b.png"
    assert dataset.notes == ("1 photos are in none of the lists and were left out",)


def test_a_list_of_two_paths_and_names_with_spaces_are_read(tmp_path: Path) -> None:
    root = make(tmp_path, "a", train="a")
    path = root / "ImageSets/Segmentation/train_aug.txt"
    path.write_text("/JPEGImages/2011_1.jpg /SegmentationClassAug/2011_1.png\nmy photo\nstraße#2\n", encoding="utf-8")
    assert voc.read_list(path) == ["2011_1", "my photo", "straße#2"]


def test_a_list_may_be_chosen_for_a_split(tmp_path: Path) -> None:
    root = make(tmp_path, "a b", train="a", train_aug="a b", val="b")
    assert [item.split for item in voc.find(root, {"train": "train_aug"}).items] == ["train", "train"]
    with pytest.raises(DataError, match="expected each photo in one split, 1 are in several: 'b'"):
        voc.find(root, {"train": "train_aug", "val": "val"})
    with pytest.raises(DataError, match="expected a list of photos, found none; there are train, train_aug, val"):
        voc.find(root, {"train": "none"})


def test_missing_photos_and_folders_are_named(tmp_path: Path) -> None:
    root = make(tmp_path / "voc", "a", train="a x y")
    with pytest.raises(DataError, match="2 of 3 are missing: 'x', 'y'"):
        voc.find(root)
    with pytest.raises(DataError, match="expected a folder with JPEGImages"):
        voc.find(root / "JPEGImages")


def note(names: str) -> str:
    objects = "".join(f"<object><name>{name}</name><part><name>head</name></part></object>" for name in names.split())
    return f"<annotation><filename>a.jpg</filename>{objects}</annotation>"


def test_objects_give_labels_without_their_parts(tmp_path: Path) -> None:
    root = make(tmp_path, "a b", train="a b")
    (root / "Annotations").mkdir()
    (root / "Annotations/a.xml").write_text(note("person dog person"))
    assert [item.labels for item in voc.find(root).items] == [("person", "dog"), None]
    assert [item.labels for item in voc.find(root, objects=False).items] == [None, None]
    (root / "Annotations/b.xml").write_text("<annotation><object/></annotation>")
    with pytest.raises(DataError, match="b.xml: expected the name of each object, found one without"):
        voc.find(root)
