from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wildseg.core.errors import DataError
from wildseg.frames.sources import find_sources, safe_name, unique_names


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_photos_of_a_folder_are_one_source_and_each_video_is_its_own(tmp_path: Path) -> None:
    folder = touch(
        tmp_path / "my trip", "b.mp4", "a drive.v2.MOV", "2.jpg", "10.JPG", "1.png", "notes.txt", ".hidden.jpg"
    )
    touch(folder, ".gitignore", "b.mp4.dvc", "Thumbs.db")
    touch(folder / "truth", "9.png")
    sources = find_sources(folder)
    assert [(s.name, s.kind, [p.name for p in s.paths]) for s in sources] == [
        ("my_trip", "photos", ["1.png", "2.jpg", "10.JPG"]),
        ("a_drive_v2", "video", ["a drive.v2.MOV"]),
        ("b", "video", ["b.mp4"]),
    ]


def test_one_video_is_one_source_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "drive.mp4", "drive.weird")
    for name in ("drive.mp4", "drive.weird"):
        (source,) = find_sources(tmp_path / name)
        assert (source.name, source.kind, source.paths) == ("drive", "video", (tmp_path / name,))


def test_sources_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    folder = touch(tmp_path / "drive", "1.jpg", "drive.avi", "Drive.mp4", "drive_2.mp4", "other.mp4")
    assert [source.name for source in find_sources(folder)] == ["drive", "drive_3", "Drive_4", "drive_2", "other"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["a", "A", "a_2", "a_3", "b", "a_2_2"]), max_size=8))
def test_names_become_unique_and_unique_ones_stay(names: list[str]) -> None:
    result = unique_names(names)
    folded = [name.casefold() for name in result]
    assert len(set(folded)) == len(names)
    for before, after in zip(names, result, strict=True):
        assert after.startswith(before)
        if [name.casefold() for name in names].count(before.casefold()) == 1:
            assert after == before


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("GOPR0012", "GOPR0012"),
        ("field, day 2 (north)", "field_day_2_north"),
        ("a/b\\c:d*e", "a_b_c_d_e"),
        ("Straße-7", "Straße-7"),
        ("e\u0301tang", "\u00e9tang"),
        ("...", "source"),
    ],
)
def test_names_are_made_safe_for_file_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], "an empty folder"),
        (["a.txt", ".b.jpg"], "1 other files such as 'a.txt'"),
        (["IMG_1.heic", "a.txt"], "2 other files such as 'a.txt'"),
    ],
)
def test_a_folder_without_media_is_a_clear_error(tmp_path: Path, names: list[str], found: str) -> None:
    touch(tmp_path / "raw", *names)
    with pytest.raises(DataError, match=rf"raw: expected videos \(\.mp4, .*photos \(\.jpg, .*found {found}"):
        find_sources(tmp_path / "raw")


def test_a_folder_of_folders_and_a_missing_path_and_a_single_photo_say_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path / "raw")
    touch(tmp_path / "raw" / "day_1", "a.jpg")
    with pytest.raises(DataError, match=r"folders such as 'day_1'; name one of them"):
        find_sources(tmp_path / "raw")
    with pytest.raises(DataError, match=r"gone\.mp4: expected a video or a folder.*found nothing.*dvc pull"):
        find_sources(tmp_path / "gone.mp4")
    with pytest.raises(DataError, match=r"a\.jpg: .*found one photo; name the photo's folder"):
        find_sources(tmp_path / "raw" / "day_1" / "a.jpg")
