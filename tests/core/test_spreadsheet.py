"""Labels of a person, saved by a spreadsheet: read where they mean one thing, else one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError
from wildseg.core.files import load_json
from wildseg.core.tables import load_table

NAMES = ["sky", "cement_road", "Straße"]
EXPECTED = {"drive_000001": [True, True, False], "drive_000002": [False, False, False], "drive_000003": [0, 0, 1]}

PLAIN = 'Frame,Labels\ndrive_000001,"sky,cement_road"\ndrive_000002,\ndrive_000003,Straße\n'
SEMICOLONS = "Frame;Labels\r\ndrive_000001;sky,cement_road\r\ndrive_000002;\r\ndrive_000003;Straße\r\n"
TABS = SEMICOLONS.replace(";", "\t")
TICKS = """Frame;sky;cement_road;Straße
drive_000001;{yes};{yes};{no}
drive_000002;{no};{no};{no}
drive_000003;{no};{no};{yes}
"""

READ = {
    "as it is written here": PLAIN.encode(),
    "semicolons, as German and French Excel separate": SEMICOLONS.encode(),
    "semicolons in the encoding of Windows": SEMICOLONS.encode("cp1252"),
    "a byte order mark": SEMICOLONS.encode("utf-8-sig"),
    "Excel's Unicode text": TABS.encode("utf-16"),
    "the same from a Mac": TABS.replace("\r\n", "\r").encode("utf-16-be"),
    "UTF-16 without a mark": TABS.encode("utf-16-le"),
    "tabs": TABS.encode(),
    "bars": SEMICOLONS.replace(";", "|").encode(),
    "a line that names the separator": b"sep=;\r\n" + SEMICOLONS.encode(),
    "the same, quoted and as a cell": b'"SEP=;";\r\n' + SEMICOLONS.encode(),
    "carriage returns alone": SEMICOLONS.replace("\r\n", "\r").encode(),
    "all cells quoted": b'"Frame";"Labels"\n"drive_000001";"sky,cement_road"\n"drive_000002";""\n'
    + '"drive_000003";"Straße"\n'.encode(),
    "columns and lines that were used once": b";\n"
    + SEMICOLONS.replace("\r\n", ";;\r\n").encode()
    + b";;;\r\n;;;\r\n,,\r\n".replace(b",", b";"),
    "headers in another case, with spaces": SEMICOLONS.replace("Frame;Labels", " frame ;LABELS ").encode(),
    "spaces around cells": SEMICOLONS.replace(";", " ; ").replace(",", " , ").encode(),
    "classes joined by semicolons in a cell": PLAIN.replace("sky,cement", "sky; cement").encode(),
    "classes below each other in a cell": PLAIN.replace("sky,cement", "sky\ncement").encode(),
    "every line taken for one cell": 'Frame,Labels\n"drive_000001,""sky,cement_road"""\n'
    '"drive_000002,"""""\n"drive_000003,Straße"\n'.encode(),
    "the same with a quoted header": '"Frame,""Labels"""\n"drive_000001,""sky,cement_road"""\n'
    '"drive_000002,"""""\n"drive_000003,""Straße"""\n'.encode(),
    "a column of notes in front": PLAIN.replace("\ndrive", "\nseen; twice,drive").replace("Fr", "Note,Fr").encode(),
    "ticks by x": TICKS.format(yes="x", no="").encode(),
    "ticks by X, empty cells at the end dropped": TICKS.format(yes="X", no="").replace(";;;\n", "\n").encode(),
    "logical values": TICKS.format(yes="TRUE", no="FALSE").encode(),
    "logical values in German": TICKS.format(yes="WAHR", no="FALSCH").encode("cp1252"),
    "logical values in French": TICKS.format(yes="VRAI", no="FAUX").replace(";", "\t").encode("utf-16"),
    "logical values in Dutch": TICKS.format(yes="WAAR", no="ONWAAR").encode(),
    "logical values in Polish": TICKS.format(yes="PRAWDA", no="FAŁSZ").encode("utf-16"),
    "logical values in Portuguese": TICKS.format(yes="VERDADEIRO", no="FALSO").encode(),
    "logical values in Russian": TICKS.format(yes="ИСТИНА", no="ЛОЖЬ").encode(),
    "logical values in Swedish": TICKS.format(yes="SANT", no="FALSKT").encode("cp1252"),
    "commas of Chinese": PLAIN.replace("sky,cement", "sky，cement").encode(),
    "numbers": TICKS.format(yes="1", no="0").replace(";", ",").encode(),
    "numbers with a decimal comma": TICKS.format(yes="1,0", no="0,00").encode(),
    "class names in another case": TICKS.format(yes="yes", no="no").replace("sky", "Sky").encode(),
}


def labels(folder: Path, content: bytes) -> dict[str, list[bool]]:
    (folder / "mine.csv").write_bytes(content)
    found = Artifacts(folder).load_labels(NAMES, folder / "mine.csv")
    return {frame: present.tolist() for frame, present in found.items()}


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_a_table_that_a_spreadsheet_saved_is_read(content: bytes, tmp_path: Path) -> None:
    assert labels(tmp_path, content) == EXPECTED


def text(*lines: str) -> bytes:
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (text("Frame:Labels", "a:sky"), "separated by commas, semicolons or tabs; found 'Frame:Labels'"),
        (text("Bild;Klassen", "a;sky"), "expected a CSV file with the columns Frame, Labels in its first line"),
        (text("a;sky"), "with the columns Frame, Labels in its first line"),
        (b"", "found an empty file"),
        (text("Frame;Labels", "a;sky;cement_road"), "line 2: expected 2 columns; quote a cell that holds semicolons"),
        (text("sep=;", "Frame;Labels", "", "a;sky;x"), "line 4: expected 2 columns"),
        (text("Frame;Labels;", "a;sky;cement_road"), "line 2: expected 2 columns"),
        (text("Frame,Labels", "a,sky,cement_road"), "line 2: expected 2 columns; quote a cell that holds commas"),
        (text("Frame;Labels", "a;sky", "b"), "line 3: expected 2 columns; 'Labels' is missing"),
        (text("Frame;Labels;labels", "a;sky;sky"), "line 1: the column 'Labels' occurs twice"),
        (text("Frame;Labels", "a;Sky"), "expected classes of params.yaml, found 'Sky'; did you mean 'sky'?"),
        (text("Frame;Labels", ";sky"), "expected plain file names in the column 'Frame'"),
        (text("Frame;Labels", "a;sky", "a ;sky"), "the frame 'a' occurs twice"),
        ("Frame;Labels\na;Stra\u00dfe\n".encode("mac_roman"), "the file is not UTF-8: save it as 'CSV UTF-8'"),
        (text("frame;sky;cement_road;Straße", "a;0,93;0,02;0,5"), "frame 'a': expected for sky a tick (x, 1, TRUE) or "
         "none (empty, 0, FALSE), found '0,93'"),
        (text("Frame;sky;cement_raod;Straße", "a;x;;"), "'cement_road' has none; did you mean 'cement_raod'?"),
        (text("Frame;note", "a;b"), "expected the columns Frame, Labels; 'Labels' is missing"),
        (b"PK\x03\x04 and more", "expected a CSV file, found an .xlsx or .ods workbook; save it as 'CSV UTF-8'"),
        (b"\xd0\xcf\x11\xe0", "found an .xls workbook"),
        (text("Frame;Labels", "a;" + "x" * 200_000), "expected a CSV file (field larger than field limit"),
    ],
)  # fmt: skip
def test_a_table_that_may_mean_several_things_is_refused_in_one_line(content: bytes, line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        labels(tmp_path, content)
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "mine.csv"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_name_with_spaces_around_it_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text('"Frame","Labels"\n" a ","sky"\n')
    assert list(Artifacts(tmp_path).load_labels(NAMES, tmp_path / "mine.csv")) == [" a "]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_of_a_table_that_a_stage_wrote_another_separator_is_named(separator: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"frame{separator}lawn\na{separator}0,5\n")
    with pytest.raises(DataError, match="'frame' is missing; found .*, as a spreadsheet may have saved it"):
        load_table(tmp_path / "a.csv", ("frame", "lawn"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_every_encoding_that_it_may_have(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('{"straße": 1}'.encode(encoding))
    assert load_json(tmp_path / "a.json") == {"straße": 1}
