"""A loaded model with other classes: the network that would have been built with them, and nothing trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.segment.san.networks import OPTIONS, PHRASES, TINY, save_model
from tests.stages import tiny_run
from wildseg.artifacts.project import Artifacts
from wildseg.core.classes import Classes
from wildseg.core.errors import DataError, ModelError, ParamsError
from wildseg.methods import predictor, segmenter
from wildseg.methods.architectures import san
from wildseg.segment.deployed import Segmenter
from wildseg.segment.predict import Predictor

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def test_words_give_the_network_that_would_have_been_built_with_them(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    trained = save_model(artifacts, held_out=["red"])
    model = segmenter.load(artifacts.segmenter_folder)
    before = model.predict(IMAGE)
    other = model.with_classes(["muddy track", " puddle"])
    assert other.class_names == ("background", "muddy track", "puddle")
    assert (other.config["classes"], other.config["ids"]) == (["muddy track", "puddle"], [1, 2])
    assert "held_out" not in other.config

    built = san.build(2, "wildseg-tiny", TINY, [["muddy track"], ["puddle"]], (1, 2), **OPTIONS)
    words = {name: value for name, value in built.state_dict().items() if name in ("texts", "meant")}
    built.load_state_dict({**trained.state_dict(), **words})
    expected = Predictor(built, [1, 2], model.config["mean"], model.config["std"]).probabilities(IMAGE[None])[0]
    np.testing.assert_array_equal(other.probabilities(IMAGE), expected)
    np.testing.assert_array_equal(model.predict(IMAGE), before)  # it stays as it is
    again = other.with_classes({name: list(phrases) for name, phrases in zip("rgb", PHRASES, strict=True)})
    np.testing.assert_array_equal(again.probabilities(IMAGE), model.probabilities(IMAGE))


def test_ids_follow_the_order_of_the_words_and_a_background_stays_what_it_was_learnt_as(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    save_model(artifacts, (0, 1, 2, 3))
    model = segmenter.load(artifacts.segmenter_folder)
    trained = model.probabilities(IMAGE)
    turned = model.with_classes(Classes({"blue": ["blue", "sea"], "red": "red", "green": ["green", "lawn"]}))
    np.testing.assert_allclose(turned.probabilities(IMAGE), trained[[0, 3, 1, 2]], atol=1e-6)
    one = model.with_classes(["mud"])  # with a background one word divides the image
    assert one.config["ids"] == [0, 1]
    found = one.probabilities(IMAGE)
    assert (found > 0).all()
    torch.testing.assert_close(torch.tensor(found.sum(0)), torch.ones(40, 56))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["mud"], "^with_classes: expected two words or more, as this model has no background .* found 'mud'$"),
        (["mud", "Mud"], "^with_classes: expected each word once, found 'Mud' twice"),
        (["mud", "  "], "^with_classes: expected words, found '  ' in "),
        (["mud", None], "^with_classes: expected words, found None in "),
        ([], "^with_classes: expected at least one class, found none"),
        ("mud", "^with_classes: expected a list of words, found 'mud'$"),
        ([f"word {number}" for number in range(255)], "^with_classes: at most 254 fit an 8-bit mask, found 255$"),
        (["mud", "background"], "^with_classes.background: this name is reserved"),
        ({"mud": ["mud"], "track": ["mud"]}, "^with_classes.track: the phrase 'mud' already belongs to 'mud'$"),
    ],
)
def test_what_are_no_classes_is_one_line(words: Any, line: str, tmp_path: Path) -> None:  # noqa: ANN401
    artifacts = Artifacts(tmp_path)
    save_model(artifacts)
    with pytest.raises(ParamsError, match=line):
        segmenter.load(artifacts.segmenter_folder).with_classes(words)


def test_a_model_of_trained_classes_alone_says_so(tmp_path: Path) -> None:
    artifacts = tiny_run.make(tmp_path)
    line = "^with_classes: expected an open-vocabulary architecture, san; unet knows only the classes"
    with pytest.raises(ParamsError, match=line):
        segmenter.load(artifacts.segmenter_folder).with_classes(["mud", "track"])


def test_a_model_without_a_folder_or_without_its_clip_says_so(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    save_model(artifacts)
    model = segmenter.load(artifacts.segmenter_folder)
    with pytest.raises(ModelError, match="^with_classes: expected a model of wildseg.load_segmenter"):
        Segmenter(model.predictor, model.config).with_classes(["mud", "track"])
    model.config["encoder_weights"] = "gone.safetensors"  # type: ignore[index]
    with pytest.raises(ModelError, match="expected the weights of the CLIP of this model, gone.safetensors"):
        model.with_classes(["mud", "track"])


def test_a_config_that_lacks_something_is_one_line(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    save_model(artifacts)
    state, config = artifacts.load_segmenter()
    with pytest.raises(DataError, match=r"^a/b: expected the config of a trained model \('encoder'\); run 'dvc repro"):
        predictor.with_classes(
            state,
            {name: value for name, value in config.items() if name != "encoder"},
            Classes({"a": "a", "b": "b"}),
            "a/b",
        )
