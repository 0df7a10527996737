"""Background phrases of CLIMS: proposed, shared, of a class, and never the class itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.encoders.models import random_clip
from wildseg.cam.networks.co_occurrence import (
    CO_OCCURRING,
    Background,
    BackgroundPhrases,
    background_phrases,
    proposals,
    without_synonyms,
)
from wildseg.core.errors import ParamsError
from wildseg.encoders.prompts import COMPETITORS, named
from wildseg.encoders.synonyms import PAIRS

NAMES = ("boat", "train", "dirt_road", "gazebo")
PHRASES = (("boat",), ("train",), ("dirt road", "forest track"), ("gazebo",))


def of(background: Background, shared: bool = True) -> BackgroundPhrases:
    return background_phrases(background, NAMES, PHRASES, shared, "cam.options.clims.background")


def own(found: BackgroundPhrases, index: int) -> set[str]:
    return {phrase for phrase, related in zip(found.phrases, found.related[index], strict=True) if related}


def test_boats_and_trains_get_the_phrases_that_were_published() -> None:
    found = of("auto", shared=False)
    assert found.proposed
    assert own(found, 0) >= {"river", "sea", "lake", "water", "building"}
    alone = background_phrases("auto", ("train",), (("train",),), True, "")
    assert own(alone, 0) == {"railway", "railroad", "track", "stone", "rocks", "tree", "branches"}


def test_a_class_of_no_row_gets_the_built_in_phrases_that_surround_any_class() -> None:
    assert proposals([("gazebo",)]) == [COMPETITORS]
    beside_a_road = proposals([("gazebo",), ("dirt road",)])[0]
    assert set(COMPETITORS) - set(beside_a_road) == {"road", "street"}


def test_what_names_a_class_or_a_thing_of_its_kind_is_not_proposed() -> None:
    found = proposals([("car",), ("asphalt",), ("trees and bushes",), ("parking lot",)])
    phrases = {phrase for phrases in found for phrase in phrases}
    assert found[0] == ("building", "traffic sign")  # neither road nor street beside asphalt
    assert not {"road", "street", "parked cars", "tree", "bush", "parking lot"} & phrases
    assert {"sidewalk", "sky", "building"} <= phrases


def test_a_class_is_of_a_row_by_the_end_of_its_phrase_word_by_word() -> None:
    assert "railway" in proposals([("old trains",)])[0]
    assert proposals([("train station",)])[0] == proposals([("seat",)])[0] == COMPETITORS  # no seas


def test_proposals_are_shared_by_all_classes_or_each_for_its_own() -> None:
    shared, apart = of("auto"), of("auto", shared=False)
    assert shared.phrases == apart.phrases
    assert shared.related.all()
    assert apart.related.any(0).all()
    assert not apart.related[1, apart.phrases.index("sea")]


def test_every_row_names_classes_and_proposes_something_else_for_them() -> None:
    for names, phrases in CO_OCCURRING:
        assert len(set(phrases)) == len(phrases) >= 3
        assert len(named(phrases, [names])) == 0, (names, phrases)


def test_a_list_is_of_all_classes_but_of_none_that_it_names() -> None:
    found = of(["harbour", "boats", "railway"])
    assert not found.proposed
    assert own(found, 0) == {"harbour", "railway"}
    assert all(own(found, index) == {"harbour", "boats", "railway"} for index in (1, 2, 3))


def test_a_mapping_gives_each_class_its_own_and_others_none() -> None:
    found = of({"train": ["railway", "tree"], "boat": ["water", "tree"]})
    assert found.phrases == ("water", "tree", "railway")
    assert found.related.tolist() == [[True, True, False], [False, True, True], [False] * 3, [False] * 3]


@pytest.mark.parametrize("background", [[], {}, {"boat": []}])
def test_there_may_be_no_phrase(background: Background) -> None:
    found = of(background)
    assert found.phrases == ()
    assert found.related.shape == (4, 0)


@pytest.mark.parametrize(
    ("background", "line"),
    [
        (
            {"boot": ["water"]},
            r"background: expected names of classes, found 'boot', which is none; did you mean 'boat",
        ),
        (
            {"boat": ["blue boats"]},
            r"background\.boat: expected phrases of background, found 'blue boats', which names",
        ),
        ({"boat": "water"}, r"background\.boat: expected a list of phrases, found 'water'"),
        (["water", " "], r"background: expected a list of phrases, found \['water', ' '\]"),
        ({"boat": [3]}, r"background\.boat: expected a list of phrases, found \[3\]"),
    ],
)
def test_a_mistake_is_one_line(background: Background, line: str) -> None:
    with pytest.raises(ParamsError, match=rf"^cam\.options\.clims\.{line}") as raised:
        of(background)
    assert "\n" not in str(raised.value)


def test_phrases_that_mean_a_class_to_the_model_are_left_out() -> None:
    vectors = {"lawn": [1.0, 0, 0], "sky": [0, 1.0, 0], "grass": [0.98, 0.2, 0], "wall": [0, 0.1, 1.0]}
    for number, (one, other) in enumerate(PAIRS):  # each pair's phrases are near to each other, and to nothing else
        angle = 0.5 + 0.8 * number
        vectors[one], vectors[other] = [np.cos(angle), 0, np.sin(angle)], [np.cos(angle + 0.1), 0, np.sin(angle + 0.1)]

    def encode(texts: list[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.tensor([vectors[text] for text in texts]), dim=1)

    phrases = BackgroundPhrases.of_classes([["grass"], ["grass", "wall"]], proposed=True)
    found = without_synonyms(phrases, [("lawn",), ("sky",)], encode)
    assert found.phrases == ("wall",)
    assert found.related.tolist() == [[False], [True]]


def test_synonyms_are_found_with_a_loaded_model_too(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    found = without_synonyms(
        of("auto"), PHRASES, lambda texts: clip.classifier([(text,) for text in texts], ["a photo of {}."])
    )
    assert set(found.phrases) <= set(of("auto").phrases)
    assert found.related.shape == (4, len(found.phrases))
    empty = of([])
    assert without_synonyms(empty, PHRASES, lambda _: pytest.fail("there is nothing to encode")) is empty
