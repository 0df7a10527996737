"""Class names and phrases: what is accepted, what is refused and with which words."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, asdict

import pytest

from wildseg.core.classes import BACKGROUND, IGNORE, MAX_CLASSES, Classes
from wildseg.core.errors import ParamsError


def test_ids_follow_the_order_of_the_mapping() -> None:
    classes = Classes.from_mapping({"soil": ["soil"], "curb": ["curb", "kerb"]})
    assert classes.names == ("soil", "curb")
    assert classes.with_background == ("background", "soil", "curb")
    assert classes.with_background[BACKGROUND] == "background"
    assert len(classes) == 2


def test_a_bare_text_is_one_phrase_and_outer_spaces_do_not_count() -> None:
    classes = Classes.from_mapping({"soil": " bare soil ", "curb": ["kerb ", "curb"]})
    assert classes.phrases == (("bare soil",), ("kerb", "curb"))


def test_names_in_any_script_and_with_spaces_are_accepted() -> None:
    names = ("Rasen & Wiese", "草地", "trottoir pavé", "lane-line (white)", "a;b")
    assert Classes.from_mapping({name: [f"phrase {i}"] for i, name in enumerate(names)}).names == names


def test_as_many_classes_as_an_8_bit_mask_can_hold_are_accepted() -> None:
    names = {f"class {i}": [f"phrase {i}"] for i in range(MAX_CLASSES)}
    assert len(Classes.from_mapping(names).with_background) == IGNORE  # ids 0..254
    with pytest.raises(ParamsError, match="at most 254 fit an 8-bit mask, found 255"):
        Classes.from_mapping({**names, "one more": ["phrase"]})


@pytest.mark.parametrize("empty", [{}, None, []])
def test_an_empty_class_list_is_refused(empty: object) -> None:
    with pytest.raises(ParamsError, match=r"classes: expected at least one class, found none.*lawn|such as 'lawn"):
        Classes.from_mapping(empty)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [["lawn", "soil"], "lawn", 3, True])
def test_what_is_no_mapping_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ParamsError, match=r"classes: expected names with phrases, such as 'lawn: \[lawn, grass\]'"):
        Classes.from_mapping(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["background", "Background", "ignore", "IGNORE", "frame"])
def test_a_class_with_a_reserved_name_is_refused_and_the_reason_given(name: str) -> None:
    with pytest.raises(ParamsError, match=rf"^classes\.{name}: this name is reserved \(.+\); choose another$"):
        Classes.from_mapping({name: ["phrase"]})


def test_a_class_that_differs_from_another_only_in_letter_case_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"classes\.Lawn: this class occurs twice"):
        Classes.from_mapping({"lawn": ["lawn"], "Lawn": ["meadow"]})


@pytest.mark.parametrize("name", ["a,b", "a.b", "a/b", "a\\b", 'a"b', "a'b", " a", "a ", "a\nb", "a\tb", "a\x00b"])
def test_a_name_that_would_break_a_file_is_refused(name: str) -> None:
    with pytest.raises(ParamsError, match="a name may not hold"):
        Classes.from_mapping({name: ["phrase"]})


@pytest.mark.parametrize("name", [None, True, 3, 1.5, "", "  "])
def test_a_name_that_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(ParamsError, match="classes: expected a name, found"):
        Classes.from_mapping({name: ["phrase"]})  # type: ignore[dict-item]


@pytest.mark.parametrize("phrases", [None, [], "", " ", 5, {"a": "b"}, [""], ["lawn", None], [True], [["a"]]])
def test_phrases_that_are_no_texts_are_refused(phrases: object) -> None:
    with pytest.raises(ParamsError, match=r"classes\.lawn: expected (one or more )?phrases, found"):
        Classes.from_mapping({"lawn": phrases})  # type: ignore[dict-item]


def test_a_phrase_that_names_two_classes_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"classes\.lawn: the phrase 'Grass' already belongs to 'tree'"):
        Classes.from_mapping({"tree": ["tree", "grass"], "lawn": ["Grass"]})


def test_a_phrase_that_stands_twice_in_a_class_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"classes\.lawn: the phrase 'LAWN' occurs twice"):
        Classes.from_mapping({"lawn": ["lawn", "LAWN"]})


def test_classes_are_copied_without_being_built_anew_and_cannot_be_changed() -> None:
    classes = Classes({"soil": "bare soil", "curb": ["curb", "kerb"]})
    assert copy.deepcopy(classes) == classes
    assert asdict(classes) == {"names": ("soil", "curb"), "phrases": (("bare soil",), ("curb", "kerb"))}
    with pytest.raises(FrozenInstanceError):
        classes.names = ()  # type: ignore[misc]
