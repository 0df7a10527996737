"""Labels of tiles: what is written comes back, agrees with labels.csv, and a table that means nothing is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.tiles import Ticks
from wildseg.core.errors import DataError

NAMES = ("sky", "crop row", "mud")
FRAMES = ["a", "b c"]
TILES = np.random.default_rng(3).random((2, 2, 3, 3)) < 0.4


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def saved(artifacts: Artifacts, tiles: np.ndarray | None = TILES) -> dict[str, np.ndarray]:
    artifacts.save_labels(FRAMES, NAMES, TILES.any((1, 2)), tiles)
    return artifacts.load_labels(NAMES)


def edit(artifacts: Artifacts, before: str, after: str) -> None:
    text = artifacts.tiles_csv.read_text()
    assert before in text
    artifacts.tiles_csv.write_text(text.replace(before, after, 1))


def test_labels_of_tiles_come_back_and_their_union_is_that_of_frames(artifacts: Artifacts) -> None:
    labels = saved(artifacts)
    found = artifacts.load_tiles(NAMES, labels)
    assert list(found) == FRAMES
    for frame, tiles in zip(FRAMES, TILES, strict=True):
        np.testing.assert_array_equal(found[frame], tiles)
        np.testing.assert_array_equal(found[frame].any((0, 1)), labels[frame])


def test_the_table_is_one_line_a_tile_that_counts_from_one(artifacts: Artifacts) -> None:
    saved(artifacts)
    lines = artifacts.tiles_csv.read_text().splitlines()
    assert lines[0] == "frame,row,column,rows,columns,sky,crop row,mud"
    assert lines[1] == "a,1,1,2,3," + ",".join(str(int(one)) for one in TILES[0, 0, 0])
    assert lines[-1] == "b c,2,3,2,3," + ",".join(str(int(one)) for one in TILES[1, 1, 2])
    assert len(lines) == 13


def test_of_frames_that_are_labelled_as_a_whole_there_is_no_line(artifacts: Artifacts) -> None:
    labels = saved(artifacts, None)
    assert artifacts.tiles_csv.read_text() == "frame,row,column,rows,columns,sky,crop row,mud\n"
    assert artifacts.load_tiles(NAMES, labels) == {}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("a,1,1,2,3,", "a,3,1,2,3,", "frame 'a': expected a row from 1 to 2 and a column from 1 to 3, found row 3"),
        ("a,1,1,2,3,", "a,0,1,2,3,", "expected a whole number from 1 in the column row, found '0'"),
        ("a,1,1,2,3,", "a,1,x,2,3,", "expected a whole number from 1 in the column column, found 'x'"),
        ("a,2,3,2,3,", "a,2,3,3,3,", "expected 2 x 3 tiles, found 3 rows and 3 columns"),
        ("a,1,2,2,3,", "a,1,1,2,3,", "the tile in row 1 and column 1 of 'a' occurs twice"),
        ("mud\na,1,1,2,3,", "mud\na,1,1,2,3,7", "expected 0 or 1 for sky, found '7"),
        ("a,1,1,", "../a,1,1,", "expected plain file names"),
        (",mud", ",mut", "'mud' is missing"),
    ],
)
def test_a_table_that_means_nothing_is_one_line_with_the_command_that_writes_it(
    artifacts: Artifacts, before: str, after: str, message: str
) -> None:
    labels = saved(artifacts)
    edit(artifacts, before, after)
    with pytest.raises(DataError, match=f"tiles.csv.*{re.escape(message)}.*; run 'dvc repro label'$"):
        artifacts.load_tiles(NAMES, labels)


def test_a_tile_that_is_missing_is_named(artifacts: Artifacts) -> None:
    labels = saved(artifacts)
    lines = artifacts.tiles_csv.read_text().splitlines()
    del lines[2]
    artifacts.tiles_csv.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="'a': expected a line for each of 6 tiles, found none for row 1 and column 2"):
        artifacts.load_tiles(NAMES, labels)


def test_tiles_that_contradict_the_labels_of_frames_are_one_line(artifacts: Artifacts) -> None:
    tiles = np.zeros((2, 2, 3, 3), bool)
    tiles[0, 1, 2, :2] = True
    artifacts.save_labels(FRAMES, NAMES, np.array([[1, 0, 1], [0, 0, 0]], bool), tiles)
    line = "frame 'a': expected in all tiles together the classes of labels.csv, sky, mud; found sky, crop row; run"
    with pytest.raises(DataError, match=line):
        artifacts.load_tiles(NAMES, artifacts.load_labels(NAMES))
    with pytest.raises(DataError, match="expected the frames of labels.csv, 'z' is in one file alone"):
        artifacts.load_tiles(NAMES, {**artifacts.load_labels(NAMES), "z": tiles[0, 0, 0]})


def given(artifacts: Artifacts, text: str) -> Path:
    path = artifacts.root / "mine.csv"
    path.write_text(text)
    return path


def test_a_table_of_a_spreadsheet_is_read_with_ticks_or_lists_in_any_order(artifacts: Artifacts) -> None:
    ticks = given(artifacts, "Frame;ROW;Column;sky;Crop Row;mud\na;1;2;x;;\na;1;1;;WAHR;1\nb;1;1;;;\nb;1;2;;;x\n")
    found = artifacts.load_given_tiles(NAMES, ticks, (1, 2))
    np.testing.assert_array_equal(found["a"], [[[0, 1, 1], [1, 0, 0]]])
    np.testing.assert_array_equal(found["b"], [[[0, 0, 0], [0, 0, 1]]])
    lists = given(artifacts, 'Frame,Labels,Row,Column,Rows,Columns\na,"mud,sky",2,1,2,1\na,,1,1,2,1\n')
    np.testing.assert_array_equal(artifacts.load_given_tiles(NAMES, lists, (2, 1))["a"], [[[0, 0, 0]], [[1, 0, 1]]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Frame,Labels\na,sky\n", "expected the columns Row and Column, because label.grid is 1 x 2; 'Row' is missing"),
        ("Frame,Labels,Row,Column\na,sky,1,1\n", "expected a line for each of 2 tiles, found none for row 1 and col"),
        ("Frame,Labels,Row,Column,Rows\na,sky,1,1,2\n", "expected 1 x 2 tiles, as label.grid has them, found 2 rows"),
        ("Frame,Labels,Row,Column\na,skies,1,1\n", "found 'skies'; did you mean 'sky'"),
        ("Frame,Labels,Row,Column\na,sky,1,\n", "expected a whole number from 1 in the column column, found ''"),
    ],
)
def test_a_given_table_that_means_nothing_is_refused(artifacts: Artifacts, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        artifacts.load_given_tiles(NAMES, given(artifacts, text), (1, 2))


def test_tiles_given_as_frames_are_told_from_a_frame_that_occurs_twice(artifacts: Artifacts) -> None:
    path = given(artifacts, "Frame,Labels,Row,Column\na,sky,1,1\na,mud,1,2\n")
    with pytest.raises(DataError, match=r"occurs twice; it has the columns Row and Column: .* set label\.grid"):
        artifacts.load_labels(NAMES, path)


def test_ticks_come_back_and_need_not_be_of_all_tiles(artifacts: Artifacts) -> None:
    assert artifacts.load_ticks(NAMES, (2, 3)) == {}
    artifacts.save_ticks(NAMES, {})
    assert artifacts.load_ticks(NAMES, (2, 3)) == {}
    ticked = np.array([[True, False, True], [False, False, False]])
    artifacts.save_ticks(NAMES, {"b c": Ticks(TILES[1], ticked)})
    ((frame, found),) = artifacts.load_ticks(NAMES, (2, 3)).items()
    assert frame == "b c"
    np.testing.assert_array_equal(found.ticked, ticked)
    np.testing.assert_array_equal(found.labels, TILES[1] & ticked[..., None])
    with pytest.raises(
        DataError, match="'b c': expected 2 x 2 tiles, as label.grid has them, found 2 rows and 3 columns"
    ):
        artifacts.load_ticks(NAMES, (2, 2))
