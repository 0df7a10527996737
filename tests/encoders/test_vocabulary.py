"""What a small model was taught, and the words that it was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.encoders.configs import clip_params
from wildseg.encoders.prompts import COMPETITORS
from wildseg.encoders.vocabulary import load_vocabulary, warning
from wildseg.execution import params
from wildseg_demo.tiny_clip.captions import SYNONYMS

ROOT = Path(__file__).parents[2]
TINY = (clip_params("wildseg-tiny", "models/tiny_clip/model.safetensors"), ROOT)
STREET = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "vegetation",
    "sky",
    "person",
    "car",
]


def test_the_list_beside_the_shipped_weights_is_what_its_recipe_says_in_captions() -> None:
    lines = (ROOT / "models/tiny_clip/wildseg-tiny.words.txt").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[1:] == [phrase for phrases in SYNONYMS.values() for phrase in phrases]


def test_the_demo_and_every_synonym_of_its_classes_are_known() -> None:
    classes = params.load(ROOT / "params.yaml").classes
    assert warning(*TINY, classes.phrases, ()) == ""
    assert warning(*TINY, SYNONYMS.values(), COMPETITORS) == ""


@pytest.mark.parametrize("phrase", ["Trees", "the sky", "lane-line", "road_markings", "Kerb  stones", "a pond", "CURB"])
def test_letter_case_signs_articles_and_plurals_do_not_count(phrase: str) -> None:
    assert warning(*TINY, [[phrase]], ()) == ""


@pytest.mark.parametrize(
    "phrase", ["car", "sidewalk", "asphalt", "brick", "dirt road", "road sign", "草地", "the", "voie"]
)
def test_a_word_that_only_stands_in_what_was_taught_is_unknown_too(phrase: str) -> None:
    assert warning(*TINY, [["road"], [phrase]], ()) == (
        f"wildseg-tiny was trained on the ten surfaces of the rendered demo alone, without {phrase!r}: "
        "their scores are meaningless; for photographs and video use a real CLIP ('wildseg init photographs')"
    )


def test_a_street_is_told_in_one_line_with_a_few_of_its_words() -> None:
    line = warning(*TINY, [[name] for name in STREET], ("wall", "bicycle"))
    assert (
        "without 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'vegetation', 'person' and " in line
    )
    assert "and 2 more: " in line  # car, bicycle
    assert "\n" not in line
    assert len(line) < 300


def test_a_model_without_a_list_is_taken_to_know_all_words(tmp_path: Path) -> None:
    for pretrained in ("openai", "nowhere.safetensors", "w.safetensors"):
        (tmp_path / "w.safetensors").touch()
        assert load_vocabulary("ViT-B-16", pretrained, tmp_path) is None
        assert warning(clip_params("ViT-B-16", pretrained), tmp_path, [["car"]], ()) == ""


def test_any_model_may_have_a_list_beside_its_weights(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").touch()
    (tmp_path / "mine.words.txt").write_text("wheat\nrye grass\n\n")
    line = warning(clip_params("mine", "w.safetensors"), tmp_path, [["wheat", "rye"]], ())
    assert line.startswith("mine was trained on a few words, without 'rye': ")
