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
        (["a.mp4"], "expected masks of frames of 'a.mp4' in a/truth, .* found none"),
        (["a.mp4", "a/truth/first.png"], "first.png: expected a name that ends in the number of a frame"),
        (["a.mp4", "a/1.png", "a/01.png"], "expected one mask a frame, found 1.png and 01.png|found 01.png and 1.png"),
    ],
)
def test_what_is_wrong_is_named(files: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        video_masks.find(make(tmp_path, *files))
