"""Photos and masks in folders of several layouts are matched by name, and what has no partner is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from wildseg.core.errors import DataError
from wildseg.exchange import mask_folders


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(root: Path, layout: str = "masks") -> list[tuple[str, str | None, str | None]]:
    dataset = mask_folders.find(root, layout)
    return [(item.name, item.split, item.mask and str(item.mask.relative_to(root))) for item in dataset.items]


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("{}.jpg", "{}.png"),
        ("{}.png", "{}_mask.png"),
        ("images/{}.jpg", "masks/{}.png"),
        ("Images/{}.PNG", "Labels/{}_L.png"),
        ("701_StillsRaw_full/{}.png", "LabeledApproved_full/{}_L.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("{}.jpg", "masks/{}.png"),
    ],
)
@pytest.mark.parametrize("name", ["a#1", "straße 7", "0016E5_07959"])
def test_a_mask_belongs_to_the_photo_of_its_name(photo: str, mask: str, name: str, tmp_path: Path) -> None:
    make(tmp_path, photo.format(name), mask.format(name))
    assert found(tmp_path) == [(name, None, mask.format(name))]


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("{split}/{name}.png", "{split}annot/{name}.png"),
        ("{split}/{name}.png", "{split}_labels/{name}_L.png"),
        ("{split}/images/{name}.jpg", "{split}/masks/{name}.png"),
        ("images/{split}/{name}.jpg", "masks/{split}/{name}.png"),
        ("leftImg8bit/{split}/bonn/{name}_leftImg8bit.png", "gtFine/{split}/bonn/{name}_gtFine_labelIds.png"),
    ],
)
def test_folders_of_splits_become_splits_in_the_order_train_val_test(photo: str, mask: str, tmp_path: Path) -> None:
    pairs = [("test", "a"), ("train", "b_10"), ("train", "b_9"), ("val", "c")]
    for split, name in pairs:
        make(tmp_path, photo.format(split=split, name=name), mask.format(split=split, name=name))
    wanted = [("train", "b_9"), ("train", "b_10"), ("val", "c"), ("test", "a")]
    assert found(tmp_path) == [(name, split, mask.format(split=split, name=name)) for split, name in wanted]


def test_other_masks_of_cityscapes_are_passed_over(tmp_path: Path) -> None:
    stem = "gtFine/train/bonn/a_gtFine"
    make(tmp_path, "leftImg8bit/train/bonn/a_leftImg8bit.png", f"{stem}_labelIds.png", f"{stem}_instanceIds.png",
         f"{stem}_color.png", f"{stem}_labelTrainIds.png")  # fmt: skip
    assert found(tmp_path, "cityscapes") == [("a", "train", f"{stem}_labelIds.png")]


def test_photos_without_a_mask_are_kept_and_counted(tmp_path: Path) -> None:
    make(tmp_path, "images/a.jpg", "images/b.jpg", "masks/a.png")
    dataset = mask_folders.find(tmp_path, "masks")
    assert [item.mask is None for item in dataset.items] == [False, True]
    assert dataset.notes == ("1 of 2 photos have no mask: 'b'",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["images/a.jpg", "masks/a.png", "masks/ü#.png"], r"1 masks have none: 'ü#.png'"),
        (["images/a.jpg", "masks/a.jpg"], "expected masks as PNG, found 'a.jpg'"),
        (["images/a.jpg", "masks/a.png", "masks/a_mask.png"], "one mask of each photo, found a.png and a_mask.png"),
        (["images/a.jpg", "images/a.png", "masks/a.png"], "one photo of each name, found 'a' more than once"),
        (["notes.txt"], "expected photos and masks: .* found none.* by --photos and --masks"),
    ],
)
def test_what_does_not_fit_together_is_named(files: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        mask_folders.find(make(tmp_path, *files), "masks")


def test_folders_can_be_named(tmp_path: Path) -> None:
    make(tmp_path, "left/a.jpg", "ids/a.png")
    items = mask_folders.find(tmp_path, "masks", "left", "ids").items
    assert [(item.name, item.mask) for item in items] == [("a", tmp_path / "ids" / "a.png")]
    with pytest.raises(DataError, match="right: expected a folder of the data set, found none"):
        mask_folders.find(tmp_path, "masks", "right", None)
    with pytest.raises(DataError, match="expected the folder of a data set in the layout 'masks', found nothing"):
        mask_folders.find(tmp_path / "gone", "masks")


def test_the_classes_of_camvid_and_cityscapes_are_those_of_their_publications() -> None:
    camvid = mask_folders.TABLES["camvid"]
    assert camvid is not None
    assert (camvid[0], camvid[3], camvid[11], len(camvid)) == ("sky", "road", "ignore", 12)
    cityscapes = mask_folders.TABLES["cityscapes"]
    assert cityscapes is not None
    # trainIds follow labelIds in this order; 19 classes are evaluated.
    classes = [name for _, name in sorted(cityscapes.items()) if name != "ignore"]
    assert len(classes) == 19
    assert (classes[0], classes[10], classes[18]) == ("road", "sky", "bicycle")
