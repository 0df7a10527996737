"""YAML is read as DVC reads it, and a key that occurs twice is a mistake."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from dvc.utils.serialize import parse_yaml

from tests.broken_files import trap
from wildseg.core import yaml_files
from wildseg.core.errors import ParamsError


def read(folder: Path, text: str) -> object:
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return yaml_files.load(path)


@pytest.mark.parametrize(
    "scalar",
    ["1e-05", "1e5", "1.5e+3", "0.5", ".5", "1.", "-3", "010", "no", "yes", "on", "off", "y", "true", "FALSE",
     "12:30:00", "null", "~", "", "none", "auto", "1e", "'1'", '"no"', "+.inf", "lawn", "草地", "2.0.1"],
)  # fmt: skip
def test_a_word_or_number_is_what_dvc_takes_it_for(tmp_path: Path, scalar: str) -> None:
    text = f"key: {scalar}\n"
    ours, theirs = read(tmp_path, text), parse_yaml(text, "a.yaml")
    assert ours == theirs
    assert type(ours["key"]) is type(theirs["key"])  # type: ignore[index]


def test_words_that_older_yaml_takes_for_booleans_can_be_class_names(tmp_path: Path) -> None:
    assert read(tmp_path, "no: [no]\noff: [off road]\n") == {"no": ["no"], "off": ["off road"]}


def test_anchors_merge_keys_and_comments_are_understood(tmp_path: Path) -> None:
    text = "a: &base {x: 1, y: 2}  # comment\nb:\n  <<: *base\n  y: 3\nc: *base\n"
    assert read(tmp_path, text) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: 2\na: 3\n", 3), ("top:\n  a: 1\n  a: 1\n", 3), ("a: {x: 1, x: 2}\n", 1), ("- a: 1\n  'a': 2\n", 2)],
)
def test_a_key_that_stands_twice_is_told_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(ParamsError, match=rf"a\.yaml, line {line}: expected YAML; the key '.' occurs twice"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    ["a: [1\n", "a: 1\n\tb: 2\n", "a: b: c\n", "? [1, 2]\n: 3\n", "a: *nowhere\n", "a: \x00\n", "a: 1\n---\nb: 2\n",
     "%\n", "a: 'open\n"],
)  # fmt: skip
def test_broken_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ParamsError, match=r"a\.yaml.*: expected YAML; ") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: \xff\xfe\n")
    with pytest.raises(ParamsError, match=r"a\.yaml: expected text in UTF-8"):
        yaml_files.load(tmp_path / "a.yaml")


def test_an_empty_file_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "") is None
    assert read(tmp_path, "# only a comment\n") is None


def test_a_mark_of_byte_order_does_not_become_part_of_the_first_key(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffa: 1\n") == {"a": 1}


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:builtins.open [{path}, w]", "!!python/name:os.system", "!!python/object/new:dict {{}}"],
)
def test_yaml_cannot_run_code(tmp_path: Path, tag: str) -> None:
    touched = tmp_path / "touched"
    with pytest.raises(ParamsError, match="could not determine a constructor"):
        read(tmp_path, f"a: {tag.format(path=touched)}\n")
    assert not touched.exists()


def test_a_pickle_named_yaml_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(trap(tmp_path / "touched"))
    with suppress(ParamsError):
        yaml_files.load(tmp_path / "a.yaml")
    assert not (tmp_path / "touched").exists()


# What asks for too much ----------------------------------------------------------------------------------------------


def laughs(first: str, again: str, levels: int = 20) -> str:
    """Each line says the one before it four times."""
    lines = [f"a0: &a0 {first}"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} {again.format(', '.join([f'*a{level - 1}'] * 4))}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "seed: " + "9" * 5000 + "\n",
            "line 1: expected YAML; seed: a number has at most 100 digits here, .*5,000",
        ),
        ("a:\n- -" + "1" * 200 + "\n", "line 2: expected YAML; a number has at most 100 digits here"),
        (laughs("[x, x]", "[{}]"), "its aliases repeat more than 100,000 values"),
        (laughs("{x: 1}", "{{<<: [{}]}}"), "its aliases repeat more than 100,000 values"),
        (laughs("{x: 1}", "{{y: [{}]}}"), "its aliases repeat more than 100,000 values"),
        ("a: &a [*a]\n", "nested too deeply"),
        ("a: &a {b: *a}\n", "nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "nested too deeply"),
        ("a: " + "[" * 3000 + "]" * 3000 + "\n", "nested too deeply"),
        ("a: !!int many\n", "a tag does not fit its value"),
        ("a: !!bool maybe\n", "a tag does not fit its value"),
        ("a: !!timestamp 2020-99-99\n", "a tag does not fit its value"),
    ],
    ids=lambda text: text[:20],
)
def test_what_asks_for_too_much_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ParamsError, match=line) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_what_a_person_writes_is_far_from_the_limits(tmp_path: Path) -> None:
    text = "base: &b {x: [1, 2]}\n" + "".join(f"k{number}: *b\n" for number in range(1000)) + f"n: {'9' * 40}\n"
    content = read(tmp_path, text)
    assert content["k999"] == {"x": [1, 2]}  # type: ignore[index]
    assert content["n"] == int("9" * 40)  # type: ignore[index]
