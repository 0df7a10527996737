"""Which key frame a truth mask is of by its name, and what is said of names that fit none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth_names import find_unmatched, suggest, unmatched_message
from wildseg.core.errors import DataError
from wildseg.core.files import save_label_image

MINE = [Frame(f"mine_{index:06d}", "mine", index, index / 5, "train") for index in (0, 7, 15)]
TWO = [*MINE, Frame("trip 2_000007", "trip 2", 7, 1.0, "test")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "truth").mkdir(parents=True)
    return tmp_path / "data" / "truth"


def masks(folder: Path, *names: str) -> None:
    for name in names:
        save_label_image(folder / name, np.ones((2, 3), np.uint8))


def found(folder: Path, frames: list[Frame]) -> dict[str, str]:
    truths = Artifacts(folder.parents[1]).find_truth(frames)
    return {name: str(path.relative_to(folder)) for name, path in truths.items()}


def test_a_mask_is_called_like_its_frame_or_by_its_index_in_a_folder_of_its_source(folder: Path) -> None:
    masks(folder, "mine_000000.png", "mine/000007.png", "mine/15.png", "trip 2/trip 2_000007.png", "mine/8.png")
    assert found(folder, TWO) == {
        "mine_000000": "mine_000000.png",
        "mine_000007": "mine/000007.png",
        "mine_000015": "mine/15.png",
        "trip 2_000007": "trip 2/trip 2_000007.png",
    }


@pytest.mark.parametrize(
    "name", ["000007.png", "7.png", "mine_7.png", "MINE_000007.png", "mine_000007.PNG", "mine_000007_mask.png"]
)
def test_no_other_name_is_taken_for_a_frames(name: str, folder: Path) -> None:
    masks(folder, name)
    assert found(folder, MINE) == {}


def test_two_masks_of_one_number_are_told(folder: Path) -> None:
    masks(folder, "mine/7.png", "mine/0007.png")
    with pytest.raises(DataError, match="expected one mask a frame, found 0007.png and 7.png"):
        found(folder, MINE)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["000000.png", "000001.png"],
         "2 files in {f} match no key frame; expected names such as mine_000000.png, found 000000.png; if these count "
         "the frames of mine from 0: mkdir {f}/mine && mv {f}/*.png {f}/mine/"),
        (["12.png"], "if these count the frames of mine from 0"),
        (["mine_0.png"], "found mine_0.png, which may be mine_000000.png; 'wildseg truth --rename'"),
        (["mine_000007_mask.png"], "found mine_000007_mask.png, which may be mine_000007.png; 'wildseg truth"),
        (["MINE_000007.PNG"], "found MINE_000007.PNG, which may be mine_000007.png"),
        (["mine-15_labelIds.png"], "which may be mine_000015.png"),
        (["mine_000007.jpg.png"], "which may be mine_000007.png"),
        (["frame.png"], "expected names such as mine_000000.png, found frame.png"),
    ],
)  # fmt: skip
def test_names_that_fit_no_frame_are_told_with_what_to_do(names: list[str], line: str, folder: Path) -> None:
    for name in names:
        (folder / name).touch()
    left = find_unmatched([folder], MINE, {})
    assert [path.name for path in left.misnamed] == names
    assert left.elsewhere == ()
    assert line.format(f=folder) in unmatched_message(left.misnamed, MINE, folder)


@pytest.mark.parametrize(
    ("name", "word"), [("mine_000007.jpg", "JPEG changes"), ("mine_000007.tif", "as PNG"), ("a.webp", "as PNG")]
)
def test_pictures_of_another_format_are_told(name: str, word: str, folder: Path) -> None:
    (folder / name).touch()
    assert word in unmatched_message(find_unmatched([folder], MINE, {}).misnamed, MINE, folder)


def test_numbers_are_never_guessed_between_several_sources(folder: Path) -> None:
    (folder / "000007.png").touch()
    said = unmatched_message(find_unmatched([folder], TWO, {}).misnamed, TWO, folder)
    assert f"put them into a folder of its name, such as {folder}/mine or {folder}/trip 2" in said
    assert suggest(folder / "000007.png", MINE) is None


def test_masks_of_other_frames_and_other_sources_are_no_mistake(folder: Path) -> None:
    masks(
        folder, "mine_000000.png", "mine_000001.png", "older_000000.png", "older/000000.png", "older/older_000001.png"
    )
    for name in ("README.md", "classes.json", ".hidden.png"):
        (folder / name).touch()
    truths = Artifacts(folder.parents[1]).find_truth(MINE)
    left = find_unmatched([folder], MINE, truths)
    assert left.misnamed == ()
    assert len(left.elsewhere) == 4
