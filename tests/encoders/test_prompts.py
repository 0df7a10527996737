"""Synonym fusion, templates and competitor phrases."""

from __future__ import annotations

import pytest

from wildseg.encoders.candidates import builtin_templates
from wildseg.encoders.prompts import COMPETITORS, fuse, named, overlap, sentences


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
        ("house", "houses", True),
        ("sky", "skies", True),
        ("tree", "*", False),
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


def test_phrases_that_name_a_class_are_found_with_the_first_class_they_name() -> None:
    classes = [["cement road", "street surface"], ["water"], ["trees"], ["road sign"]]
    assert named(COMPETITORS, classes) == {"tree": 2, "water": 1, "road": 0, "street": 0, "sign": 3}
    assert named(COMPETITORS, [["gravel"]]) == {}


def test_the_built_in_list_has_the_25_phrases_of_the_paper_once_each() -> None:
    assert len(COMPETITORS) == len(set(COMPETITORS)) == 25


def test_the_built_in_candidates_are_the_published_templates_and_the_plain_ones_before_them() -> None:
    candidates = builtin_templates()
    assert candidates[:2] == ("a photo of {}.", "{}")
    assert {"a clean origami {}.", "a bad photo of a {}.", "itap of my {}.", "There is a {} in the scene"} <= {
        *candidates
    }
    assert len(candidates) == len({*candidates}) == 88
    assert all(template.count("{}") == 1 for template in candidates)
