"""Masks of frames of videos are found by their numbers, in the folders where people put them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.exchange.test_mask_folders import make

from wildseg.core.errors import DataError
from wildseg.exchange import mask_folders, video_masks


@pytest.mark.parametrize("mask", ["{}/truth/000012.png", "{}/12.png", "{}/masks/{}_000012.png", "truth/{}/12.png"])
def test_masks_are_found_by_the_number_of_a_frame(mask: str, tmp_path: Path) -> None:
    make(tmp_path, "straße #2.mp4", mask.replace("{}", "straße #2"), "b.avi")
    videos = video_masks.find(tmp_path)
    assert [(video.name, list(video.masks)) for video in videos] == [("b", []), ("straße #2", [12])]
    assert mask_folders.find(tmp_path, "camvid").videos == tuple(videos)
    assert mask_folders.find(tmp_path, "camvid").items == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.mp4", "a/truth/first.png"], "first.png: expected a name that ends in the number of a frame"),
        (["a.mp4", "a/1.png", "a/01.png"], "expected one mask a frame, found 1.png and 01.png|found 01.png and 1.png"),
    ],
)
def test_what_is_wrong_is_named(files: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        video_masks.find(make(tmp_path, *files))


def test_videos_without_masks_may_have_equal_stems(tmp_path: Path) -> None:
    videos = video_masks.find(make(tmp_path, "a.mov", "a.mp4", "b.mp4", "b/1.png"))
    assert [video.path.name for video in videos if video.masks] == ["b.mp4"]
    make(tmp_path, "a/1.png")
    with pytest.raises(DataError, match=r"a: expected masks of one video, found a\.mov and a\.mp4"):
        video_masks.find(tmp_path)


@pytest.mark.parametrize("files", [["images/a.jpg", "masks/a.png"], ["a.jpg", "a.png"], ["train/a.jpg", "train/a.png"]])
def test_videos_without_masks_stand_in_the_way_of_no_photos(files: list[str], tmp_path: Path) -> None:
    make(tmp_path, *files, "preview.mp4")
    dataset = mask_folders.find(tmp_path, "masks")
    assert [item.name for item in dataset.items] == ["a"]
    assert dataset.videos == ()
    assert dataset.notes == ("videos without masks were left out: 'preview.mp4'",)


@pytest.mark.parametrize("files", [[], ["thumb.jpg"], ["masks/000012.png"]])
def test_where_neither_videos_nor_photos_have_masks_both_ways_out_are_named(files: list[str], tmp_path: Path) -> None:
    make(tmp_path, *files, "a.mp4")
    with pytest.raises(DataError, match="expected masks of frames of 'a.mp4' in a/truth, .* found none.*--photos"):
        mask_folders.find(tmp_path, "masks")
