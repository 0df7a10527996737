"""What ids and colours of truth masks mean, as a person or a labelling tool writes it down beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wildseg.artifacts import truth_maps
from wildseg.core.errors import DataError

NAMES = ("sky", "tree", "lane_line")


def read(folder: Path, name: str, text: str) -> tuple[dict[int, int], dict[int, int]]:
    (folder / name).write_text(text, encoding="utf-8")
    found = truth_maps.load(folder / name, NAMES)
    return dict(found.ids), dict(found.colours)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.json", '{"0": "sky", "1": "tree", "2": "lane_line", "9": "ignore", "8": "background"}'),
        ("classes.json", '{"sky": 0, "tree": 1, "Lane-Line": 2, "ignore": 9, "background": 8}'),
        ("classes.json", '["sky", "tree", "lane line", null, null, null, null, null, "background", "ignore"]'),
        ("classes.json", '\ufeff{"0": "sky", "1": "tree", "2": "lane_line", "9": null, "8": "background"}'),
        (
            "classes.json",
            '{"id2label": {"0": "sky", "1": "tree", "2": "lane_line", "8": "background", "9": "void"}, "x": 1}',
        ),
        (
            "classes.json",
            '{"images": [], "categories": [{"id": 0, "name": "sky"}, {"id": 1, "name": "tree"}, '
            '{"id": 2, "name": "lane_line"}, {"id": 8, "name": "background"}, {"id": 9, "name": "ignore"}]}',
        ),
        ("classes.csv", "Pixel Value, Class\n0, sky\n1, tree\n2, lane_line\n8, background\n9, unlabelled\n"),
        ("classes.csv", "id,name\n0,sky\n1,tree\n2,lane_line\n9,ignore\n8,background\n"),
        ("classes.csv", "id;name\r\n0;sky\r\n1;tree\r\n2;lane_line\r\n9;ignore\r\n8;background\r\n"),
        ("classes.csv", "Label,ID\nSky,0\nTREE,1\nlane line,2\nignore,9\nbackground,8\n"),
    ],
)
def test_ids_mean_classes(name: str, text: str, tmp_path: Path) -> None:
    ids, colours = read(tmp_path, name, text)
    expected = {0: 1, 1: 2, 2: 3, 9: 255, 8: 0}
    assert {key: ids[key] for key in expected} == expected
    assert set(ids.values()) - {255} == {0, 1, 2, 3}
    assert colours == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.json", '{"#4682b4": "sky", "0,128,0": "tree", "(255, 255, 255)": "lane_line", "#000000": "ignore"}'),
        ("classes.json", '{"sky": [70, 130, 180], "tree": "#008000", "lane_line": "255,255,255", "ignore": [0, 0, 0]}'),
        ("classes.json",
         '{"rgb(70, 130, 180)": "sky", "0x008000": "tree", "255 255 255": "lane_line", "#000000": "unlabeled"}'),
        ("classes.json", '[{"name": "sky", "color": [70, 130, 180]}, {"name": "tree", "color": "#008000"}, '
                         '{"name": "lane_line", "color": [255, 255, 255]}, {"name": "Void", "color": [0, 0, 0]}]'),
        ("classes.json",
         '{"sky": [[70, 130, 180]], "tree": ["#008000"], "lane_line": [[255, 255, 255]], "ignore": [[0, 0, 0]]}'),
        ("classes.csv", "name,r,g,b\nsky,70,130,180\ntree,0,128,0\nlane_line,255,255,255\nignore,0,0,0\n"),
        ("classes.csv", 'colour,class\n"70,130,180",sky\n#008000,tree\n#FFFFFF,lane_line\n#000000,ignore\n'),
        ("labelmap.txt",
         "# label:color_rgb:parts\nsky:70,130,180::\ntree:0,128,0::\nlane_line:255,255,255::\nignore:0,0,0::\n"),
        ("labelmap.txt", "sky:70,130,180\r\ntree:0,128,0\r\nlane_line:255,255,255\r\nignore:0,0,0\r\n"),
    ],
)  # fmt: skip
def test_colours_mean_classes(name: str, text: str, tmp_path: Path) -> None:
    ids, colours = read(tmp_path, name, text)
    assert colours == {(70 << 16) + (130 << 8) + 180: 1, 128 << 8: 2, 0xFFFFFF: 3, 0: 255}
    assert ids == {}


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("classes.json", '{"0": "sky", "1": "tre"}', "classes of params.yaml, .*found 'tre'; did you mean 'tree'"),
        ("classes.json", '{"0": "sky", "0": "tree"}', "'0' is mapped to two classes"),
        ("classes.json", '{"sky": 1, "tree": 1}', "1 is mapped to two classes"),
        ("classes.json", '{"804080x": "sky", "4682b4x": "tree"}', "or a colour .*found '804080x'"),
        ("classes.json", '{"0": "sky", "1": "building"}', "found 'building'; map everything else to ignore"),
        ("classes.json", '[{"id": 0}]', "expected of each category an id or a color, and a name; found {'id': 0}"),
        ("classes.json", '{"sky": {"id": 0}}', "or a colour .*found {'id': 0}"),
        ("classes.json", '{"-1": "sky", "0": "tree"}', "an id from 0 to 65535, or a colour .*found '-1'"),
        ("classes.json", '{"sky": [1, 2, 999]}', r"or a colour .*found \[1, 2, 999\]"),
        ("classes.json", '{"sky": true}', "or a colour .*found True"),
        ("classes.json", '{"0": 1}', "expected classes of params.yaml"),
        ("classes.json", "{}", "expected ids or colours and the classes that they mean, found none"),
        ("classes.json", "7", "expected ids or colours and class names.*found 7"),
        ("classes.json", "{", "expected a JSON file"),
        ("classes.csv", "a,b\n1,2\n", "expected the columns id,name or colour,name or name,r,g,b; found 'a, b'"),
        ("classes.csv", "", "found an empty file"),
        ("labelmap.txt", "sky\n", "expected lines such as 'sky:70,130,180::', found 'sky'"),
        ("labelmap.txt", "sky:::\n", "or a colour .*found ''"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_in_one_line(name: str, text: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name}: .*{line}") as caught:
        read(tmp_path, name, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_a_map_is_read_in_every_encoding_that_json_may_have(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_bytes('{"0": "sky", "1": "tree"}'.encode(encoding))
    assert truth_maps.load(tmp_path / "classes.json", NAMES).ids == {0: 1, 1: 2}


def test_a_class_called_void_is_a_class(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('{"0": "void", "1": "sky", "2": "unlabelled"}')
    assert truth_maps.load(tmp_path / "classes.json", ("sky", "void")).ids == {0: 2, 1: 1, 2: 255}


def test_a_class_may_have_several_ids_or_colours(tmp_path: Path) -> None:
    assert read(tmp_path, "classes.json", '{"sky": [0, 7], "tree": [[1, 2, 3], "#040506"], "ignore": 9}') == (
        {0: 1, 7: 1, 9: 255},
        {0x010203: 2, 0x040506: 2},
    )


def test_two_maps_in_a_folder_are_one_too_many(tmp_path: Path) -> None:
    for name in ("classes.json", "labelmap.txt"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"expected one map of classes, found classes\.json and labelmap\.txt"):
        truth_maps.find(tmp_path)


def test_the_example_in_an_error_can_be_pasted() -> None:
    assert json.loads(truth_maps.example([0, 5, 7, 9], NAMES)) == {
        "0": "sky", "5": "tree", "7": "lane_line", "9": "ignore",
    }  # fmt: skip
