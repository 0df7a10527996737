"""Single files: whole or not at all, the same bytes every time, and one line for whatever is wrong with them."""

from __future__ import annotations

import csv
import json
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc_render.vega import VegaRenderer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.broken_files import cut
from tests.programs import python
from wildseg.core import files, images, tables
from wildseg.core.errors import DataError
from wildseg.core.id_colours import id_palette


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# atomic and empty_dir ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", "<!--<script>", "a photo of {} <b>", "1 < 2 > 0"]
)
def test_what_is_plotted_cannot_leave_the_script_of_dvcs_page(text: str, tmp_path: Path) -> None:
    tables.save_plotted_table(tmp_path / "t.csv", ("class", "iou"), [(text, 0.5), ("lawn", "0.250000")])
    rows = tables.load_table(tmp_path / "t.csv", ("class", "iou"))
    assert [row["iou"] for row in rows] == ["0.5", "0.250000"]
    page = VegaRenderer(rows, "page", x="iou", y="class", template="bar_horizontal").generate_html()
    assert page.count("<script") == page.count("</script") == 1
    assert "<!--" not in page
    assert rows[0]["class"] == text.replace("<", "‹").replace(">", "›")  # still to be read by people


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder" / "a.txt"
    with files.atomic(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent  # a rename across disks would be a copy
        assert temporary.suffix == ".txt"  # libraries choose the format by it
    assert target.read_text() == "half"
    assert names(target.parent) == ["a.txt"]


@pytest.mark.parametrize("kind", [ValueError, OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, kind: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(kind), files.atomic(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise kind
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_body_that_writes_nothing_is_an_error_and_not_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), files.atomic(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_a_full_disk_is_an_os_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    # A limit on the size of files stands for the disk: it needs no rights and hits the same system call.
    (tmp_path / "table.csv").write_text("old\n")
    code = """
import resource, sys
from pathlib import Path
from wildseg.core import tables
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    tables.save_table(Path("table.csv"), ("a",), (("x" * 100,) for _ in range(1000)))
except OSError as error:
    sys.exit(f"{error.strerror}")
"""
    assert python("-c", code, cwd=tmp_path).errors == "File too large\n"
    assert names(tmp_path) == ["table.csv"]
    assert (tmp_path / "table.csv").read_text() == "old\n"


def test_fresh_empties_a_folder_and_makes_a_missing_one(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert files.empty_dir(folder) == folder
    (folder / "sub").mkdir()
    (folder / "sub" / "a").write_text("a")
    (folder / ".hidden").write_text("b")
    assert names(files.empty_dir(folder)) == []


def test_fresh_follows_a_link_to_a_folder_but_never_a_link_inside_it(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "video.mp4").write_text("video")
    large_disk = tmp_path / "large disk"
    large_disk.mkdir()
    (large_disk / "old.jpg").write_text("old")
    (large_disk / "link").symlink_to(precious)
    (large_disk / "dangling").symlink_to(tmp_path / "nowhere")
    folder = tmp_path / "out"
    folder.symlink_to(large_disk)
    files.empty_dir(folder)
    assert folder.is_symlink()
    assert names(large_disk) == []
    assert names(precious) == ["video.mp4"]


def test_fresh_refuses_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match="exists"):
        files.empty_dir(tmp_path / "out")


# JSON ----------------------------------------------------------------------------------------------------------------


def test_json_takes_numpy_and_turns_what_json_lacks_into_null(tmp_path: Path) -> None:
    content: dict[Any, Any] = {
        "miou": np.float32(0.5),
        "count": np.int64(3),
        "yes": np.bool_(True),
        "nan": float("nan"),
        "inf": np.float64("inf"),
        "list": (1, np.float64("-inf"), None),
        "array": np.array([[1.0, np.nan]]),
        7: "seven",
        "ü": {"草地": "“quoted”"},
    }
    files.save_json(tmp_path / "a.json", content)
    assert files.load_json(tmp_path / "a.json") == {
        "miou": 0.5, "count": 3, "yes": True, "nan": None, "inf": None, "list": [1, None, None], "array": [[1.0, None]],
        "7": "seven", "ü": {"草地": "“quoted”"},
    }  # fmt: skip
    json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)  # strict JSON, no NaN


def test_json_keeps_the_order_and_ends_with_a_newline(tmp_path: Path) -> None:
    files.save_json(tmp_path / "a.json", {"b": 1, "a": {"z": True, "y": False}})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1,\n  "a": {\n    "z": true,\n    "y": false\n  }\n}\n'


@pytest.mark.parametrize("content", [b"", b"{", b"{'a': 1}", b"\xff\xfe", b"{}{}"])
def test_broken_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json: expected a JSON file"):
        files.load_json(path)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"a"'])
def test_json_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match="expected a JSON object, found"):
        files.load_json(tmp_path / "a.json")


def test_missing_json_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a JSON file .*No such file"):
        files.load_json(tmp_path / "a.json")


# CSV -----------------------------------------------------------------------------------------------------------------

# All but a bare carriage return, which Python's writer leaves unquoted.
CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_any_text_survives_a_table(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], quote: bool
) -> None:
    path = tmp_path_factory.mktemp("table") / "a.csv"
    tables.save_table(path, ("one", "two, quoted"), rows, quote_all=quote)
    expected = [(one, two) for one, two in rows]
    assert [(row["one"], row["two, quoted"]) for row in tables.load_table(path, ("one",))] == expected


def test_a_table_is_what_pythons_own_reader_reads(tmp_path: Path) -> None:
    rows = [("a,b", 'say "hi"'), ("zwei\nZeilen", "草地"), ("", " ")]
    tables.save_table(tmp_path / "a.csv", ("x", "y"), rows)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [["x", "y"], *map(list, rows)]


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffFrame,Labels\r\n\r\na,lawn\r\n".encode())
    assert tables.load_table(tmp_path / "a.csv", ("Frame", "Labels")) == [{"Frame": "a", "Labels": "lawn"}]


def test_more_columns_than_asked_for_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("note,Frame\nhello,a\n")
    assert tables.load_table(tmp_path / "a.csv", ("Frame",)) == [{"note": "hello", "Frame": "a"}]


def test_a_table_with_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    tables.save_table(tmp_path / "a.csv", ("x",), [])
    assert tables.load_table(tmp_path / "a.csv", ("x",)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "'Frame' is missing"),
        (b"Frame\na\n", "'Labels' is missing"),
        (b"frame,labels\na,b\n", "'Frame' is missing"),
        (b"Frame,Labels\na,lawn,curb\n", "line 2: expected 2 columns; quote a cell that holds commas"),
        (b"Frame,Labels\na,lawn\n\nb\n", "line 4: expected 2 columns"),
        (b"Frame,Labels\na,\xff\n", "expected a CSV file"),
        (b"Frame,Labels\na," + b"x" * 200_000 + b"\n", "expected a CSV file .*field limit"),
    ],
)
def test_a_broken_table_is_one_line_that_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv.*{message}"):
        tables.load_table(path, ("Frame", "Labels"))


def test_a_missing_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv: expected a CSV file .*No such file"):
        tables.load_table(tmp_path / "a.csv", ("x",))


def test_a_long_table_is_streamed_to_disk(tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[str]]:
        for _ in range(20_000):
            yield ("x" * 100,)

    tracemalloc.start()
    tables.save_table(tmp_path / "a.csv", ("x",), rows())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 < (tmp_path / "a.csv").stat().st_size


# Label images --------------------------------------------------------------------------------------------------------


def test_every_id_survives_a_label_image_and_is_seen_in_its_colour(tmp_path: Path) -> None:
    ids = np.arange(256, dtype=np.uint8).reshape(8, 32)
    images.save_label_image(tmp_path / "a.png", ids)
    np.testing.assert_array_equal(images.load_label_image(tmp_path / "a.png"), ids)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")).reshape(256, 3), id_palette())


def test_an_array_read_from_a_label_image_can_be_written_to(tmp_path: Path) -> None:
    images.save_label_image(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    images.load_label_image(tmp_path / "a.png")[0, 0] = 1


def test_a_grey_image_or_one_with_few_colours_is_read_as_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 3], [1, 2]], np.uint8)
    Image.fromarray(ids).save(tmp_path / "grey.png")
    few = Image.fromarray(ids).convert("P")
    few.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    few.save(tmp_path / "few.png", bits=2)
    for name in ("grey.png", "few.png"):
        np.testing.assert_array_equal(images.load_label_image(tmp_path / name), ids)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "I;16", "LA"])
def test_an_image_that_is_not_one_id_a_pixel_is_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="expected a palette or 8-bit grey image of class ids, found mode"):
        images.load_label_image(tmp_path / "a.png")


def test_a_grey_image_gives_its_levels(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.load_grey_image(tmp_path / "a.png"), levels)


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA", "1", "I;16", "LA"])
def test_an_image_that_is_not_of_8_bit_grey_is_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="a.png: expected an 8-bit grey PNG, found mode"):
        images.load_grey_image(tmp_path / "a.png")


def test_a_label_image_that_is_cut_short_is_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    images.save_label_image(tmp_path / "a.png", noise)
    cut(tmp_path / "a.png")
    with pytest.raises(DataError, match="expected an image of class ids"):
        images.load_label_image(tmp_path / "a.png")


def test_whatever_bytes_are_broken_in_an_image_the_error_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    images.save_label_image(path, np.random.default_rng(0).integers(0, 11, (16, 16), dtype=np.uint8))
    whole = path.read_bytes()
    chance = random.Random(0)
    for _ in range(400):
        broken = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            broken[chance.randrange(8, 60 if chance.random() < 0.5 else len(whole))] = chance.randrange(256)
        path.write_bytes(broken)
        with suppress(DataError):
            images.load_label_image(path)


def test_an_image_that_claims_to_be_enormous_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.save_label_image(tmp_path / "a.png", np.zeros((40, 40), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="exceeds limit"):
        images.load_label_image(tmp_path / "a.png")
