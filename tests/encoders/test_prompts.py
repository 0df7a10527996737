"""Synonym fusion, templates and competitor phrases."""

from __future__ import annotations

import pytest

from wildseg.encoders.prompts import COMPETITORS, competitors, fuse, overlap, sentences


def test_fusing_a_single_phrase_gives_the_phrase() -> None:
    assert fuse(["curb"]) == "curb"


def test_synonyms_share_one_sentence_per_template() -> None:
    assert sentences(["person", "human"], ["a photo of {}.", "{}"]) == ["a photo of person, human.", "person, human"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("road", "cement road", True),
        ("cement road", "road", True),
        ("tree", "Trees", True),
        ("cloud", "clouds", True),
        ("bush", "bushes", True),
        ("grass", "grass", True),
        ("sea", "seat", False),
        ("sea", "car seat", False),
        ("red path", "red brick path", False),
        ("brick path", "red brick path", True),
    ],
)
def test_phrases_overlap_by_whole_words(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


def test_auto_leaves_out_what_means_a_class_and_says_so() -> None:
    kept, dropped = competitors("auto", [["cement road", "street surface"], ["water"], ["trees"]])
    assert dropped == ("tree", "water", "road", "street")
    assert set(kept) | set(dropped) == set(COMPETITORS)
    assert not set(kept) & set(dropped)


def test_phrases_of_a_person_are_taken_as_they_are() -> None:
    assert competitors(("road", "sky"), [["road"]]) == (("road", "sky"), ())
    assert competitors((), [["road"]]) == ((), ())


def test_the_built_in_list_has_the_25_phrases_of_the_paper_once_each() -> None:
    assert len(COMPETITORS) == len(set(COMPETITORS)) == 25
