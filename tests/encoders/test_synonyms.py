"""Which phrases mean a class: vectors made by hand, and the words the embedded model was taught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from wildseg.core import params
from wildseg.encoders import clip
from wildseg.encoders.prompts import COMPETITORS
from wildseg.encoders.synonyms import PAIRS, find_synonyms, synonym_cutoff
from wildseg_demo.tiny_clip.captions import SYNONYMS

ROOT = Path(__file__).parents[2]


def at(*degrees: float) -> np.ndarray:
    """Unit vectors in a plane at these angles, (n, 2): their cosines can be read off."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


CLASSES = [at(0, 20), at(90, 110)]  # two synonyms each, 20 degrees apart; the classes 70 degrees


def test_the_cut_is_half_way_between_synonyms_and_what_means_something_else() -> None:
    # The nearest synonym of each of the four is at 20 degrees; the nearest other phrase at 90, 70, 70, 90.
    other = (np.cos(np.radians(70)) + np.cos(np.radians(90))) / 2
    assert synonym_cutoff(CLASSES) == pytest.approx((np.cos(np.radians(20)) + other) / 2)


def test_a_phrase_as_near_as_a_synonym_means_the_class_whose_phrase_is_nearest() -> None:
    limit, found = find_synonyms(["near", "beside", "far"], at(130, -60, 200), CLASSES, [])
    assert limit == synonym_cutoff(CLASSES)
    assert [(match.phrase, match.index) for match in found] == [("near", 1)]
    assert found[0].similarity == pytest.approx(np.cos(np.radians(20)))


def shifted(vectors: np.ndarray, offset: float) -> np.ndarray:
    """Vectors with a part in common, as all sentences of one template have: their cosines become (1-o) cos + o."""
    common = np.full((len(vectors), 1), np.sqrt(offset))
    return np.concatenate([np.sqrt(1 - offset) * vectors, common], axis=1)


def test_the_nearest_synonym_of_a_phrase_is_never_itself_however_far_the_others_are() -> None:
    # Four phrases of which synonyms have a cosine of -.2 and all others -.4: the vectors of that matrix of cosines.
    cosines = np.array([[1, -0.2, -0.4, -0.4], [-0.2, 1, -0.4, -0.4], [-0.4, -0.4, 1, -0.2], [-0.4, -0.4, -0.2, 1]])
    values, directions = np.linalg.eigh(cosines)
    far = directions * np.sqrt(values.clip(0))
    assert synonym_cutoff([far[:2], far[2:]]) == pytest.approx(-0.3)


@pytest.mark.parametrize("offset", [0.3, 0.8, 0.95])
def test_a_model_whose_cosines_are_all_high_leaves_out_the_same_phrases(offset: float) -> None:
    rng = np.random.default_rng(0)
    turned = at(*rng.uniform(0, 360, 40))
    phrases = [str(number) for number in range(40)]
    plain = find_synonyms(phrases, turned, CLASSES, [])
    high = find_synonyms(phrases, shifted(turned, offset), [shifted(own, offset) for own in CLASSES], [])
    assert [match.phrase for match in high[1]] == [match.phrase for match in plain[1]] != []
    assert high[0] == pytest.approx((1 - offset) * plain[0] + offset)


def test_built_in_pairs_say_what_is_near_where_no_class_has_synonyms() -> None:
    alone = [at(0)]
    assert synonym_cutoff(alone) is None
    assert find_synonyms(["a"], at(1), alone, []) == (None, [])
    limit, found = find_synonyms(["a", "b"], at(10, 60), alone, [at(180, 190), at(270, 280)])
    assert limit == pytest.approx((np.cos(np.radians(10)) + np.cos(np.radians(85))) / 2, abs=0.02)
    assert [match.phrase for match in found] == ["a"]


def test_a_class_may_be_what_a_built_in_pair_means() -> None:
    # The two lists are not compared with each other: a class "sea" is no other thing than the pair sea, ocean.
    pairs = [at(0, 10), at(90, 100)]
    assert synonym_cutoff([at(0), at(200)], pairs) == pytest.approx(
        (np.cos(np.radians(10)) + np.median(np.cos(np.radians([160, 160, 90, 80, 80, 90])))) / 2
    )


def test_a_model_that_does_not_tell_synonyms_from_others_leaves_out_nothing() -> None:
    confused = [at(0, 90), at(1, 91)]
    assert find_synonyms(["a"], at(0), confused, []) == (None, [])


def test_no_phrases_are_none_left_out() -> None:
    assert find_synonyms([], np.zeros((0, 2)), CLASSES, [])[1] == []


def test_the_pairs_are_of_the_built_in_phrases() -> None:
    words = [word for pair in PAIRS for word in pair]
    assert {*words} <= {*COMPETITORS}
    assert len(words) == len({*words})


# The embedded model: some sixty words, each for one of ten surfaces ---------------------------------------------------


@pytest.fixture(scope="module")
def embedded() -> clip.Clip:
    chosen = params.load(ROOT / "params.yaml").clip
    return clip.load(chosen.model, chosen.pretrained, root=ROOT)


def vectors(model: clip.Clip, phrases: Sequence[str]) -> np.ndarray:
    return model.classifier([(phrase,) for phrase in phrases], ["a photo of {}."]).double().numpy()


def test_every_word_the_embedded_model_was_taught_means_its_surface(embedded: clip.Clip) -> None:
    classes = [vectors(embedded, own[:2]) for own in SYNONYMS.values()]
    owner = {phrase: index for index, own in enumerate(SYNONYMS.values()) for phrase in own[2:]}
    pairs = [vectors(embedded, pair) for pair in PAIRS]
    _, found = find_synonyms(list(owner), vectors(embedded, list(owner)), classes, pairs)
    assert {match.phrase: match.index for match in found} == owner


def test_a_model_that_was_never_taught_the_built_in_pairs_needs_synonyms(embedded: clip.Clip) -> None:
    classes = [vectors(embedded, own[:1]) for own in SYNONYMS.values()]
    pairs = [vectors(embedded, pair) for pair in PAIRS]
    assert find_synonyms(["lake"], vectors(embedded, ["lake"]), classes, pairs) == (None, [])


def test_no_word_of_a_surface_means_one_of_the_others(embedded: clip.Clip) -> None:
    surfaces = list(SYNONYMS.values())
    for index, own in enumerate(surfaces):
        others = [vectors(embedded, phrases[:2]) for place, phrases in enumerate(surfaces) if place != index]
        pairs = [vectors(embedded, pair) for pair in PAIRS]
        assert find_synonyms(own, vectors(embedded, own), others, pairs)[1] == []
