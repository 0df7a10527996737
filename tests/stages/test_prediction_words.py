"""`wildseg predict --classes`: words instead of the trained classes, and what is no such list."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.cli.test_cli import error_line, run
from tests.segment.san.networks import TINY, save_model
from tests.stages import tiny_run
from tests.stages.test_prediction import OUT, files, photos, predict
from wildseg.artifacts.project import Artifacts
from wildseg.core.images import load_label_image
from wildseg.frames.photos import read_photo
from wildseg.methods import segmenter

WORDS = "muddy track, tall grass,puddle"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """An empty project with a model of random weights beside the embedded CLIP."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WILDSEG_DEVICE", "cpu")
    monkeypatch.setenv("WILDSEG_WORKERS", "1")
    artifacts = Artifacts(Path())
    save_model(artifacts)
    return artifacts


def test_words_are_predicted_in_their_order_and_named_in_all_that_is_written(project: Artifacts) -> None:
    (path,) = photos(1)
    predict(str(path), "--classes", WORDS, "--costmap")
    model = segmenter.load(project.segmenter_folder).with_classes(["muddy track", "tall grass", "puddle"])
    np.testing.assert_array_equal(load_label_image(OUT / "p0.png"), model.predict(read_photo(path)))
    names = {"0": "background", "1": "muddy track", "2": "tall grass", "3": "puddle"}
    assert json.loads((OUT / "classes.json").read_text()) == names
    assert json.loads((OUT / "prediction.json").read_text())["classes"] == ["muddy track", "tall grass", "puddle"]
    info = json.loads((OUT / "costmap/label_info.json").read_text())
    assert [one["class_name"] for one in info["class_map"]] == ["muddy track", "tall grass", "puddle"]


def test_other_words_are_predicted_anew_and_the_same_ones_are_left(project: Artifacts) -> None:
    (path,) = photos(1)
    assert "as they were" not in predict(str(path))
    trained = files()["p0.png"]
    assert "as they were" not in predict(str(path), "--classes", WORDS)
    words = files()["p0.png"]
    assert "1 of them as they were" in predict(str(path), "--classes", WORDS)
    assert files()["p0.png"] == words != trained


def test_words_that_another_text_tower_embeds_are_predicted_anew(project: Artifacts) -> None:
    folder = shutil.copytree(Path(TINY).parent, Path("clip"))
    save_model(project, encoder_weights="clip/model.safetensors")
    (path,) = photos(1)
    predict(str(path), "--classes", WORDS)
    assert "1 of them as they were" in predict(str(path), "--classes", WORDS)
    state = load_file(folder / "model.safetensors")
    state["text_projection"] = -state["text_projection"]
    save_file(state, folder / "model.safetensors")
    assert "as they were" not in predict(str(path), "--classes", WORDS)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("mud", "--classes: expected two words or more, as this model has no background"),
        ("mud,track,mud", "--classes: expected each word once, found 'mud' twice"),
        ("mud,,track", "--classes: expected words, found '' in 'mud,,track'"),
        ("", "--classes: expected words, found ''"),
        (",".join(f"w{number}" for number in range(255)), "--classes: at most 254 fit an 8-bit mask, found 255"),
        ("mud,a/b", "--classes.'a/b': a name may not hold commas, dots, slashes"),
    ],
)
def test_what_are_no_words_is_one_line_before_anything_is_read(words: str, line: str, project: Artifacts) -> None:
    assert error_line(run("predict", "nowhere.png", "--classes", words)).startswith(line)
    assert not list(OUT.glob("*.png"))


def test_a_model_of_another_architecture_says_that_only_some_can(project: Artifacts) -> None:
    tiny_run.save_segmenter(project, tiny_run.network())
    line = error_line(run("predict", "nowhere.png", "--classes", WORDS))
    assert line == (
        "--classes: expected an open-vocabulary architecture, san; unet knows only the classes that it is trained on"
    )
