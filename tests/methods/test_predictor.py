"""The one place that builds a trained network: everybody who predicts gets the same numbers, and the same errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stages import tiny_run
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError, ParamsError
from wildseg.methods import predictor, segmenter
from wildseg.segment.predict import Predictor
from wildseg.stages.eval.task import PredictTask
from wildseg.stages.explainer import Explainer
from wildseg.tracking import model


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    artifacts = tiny_run.make(tmp_path)
    tiny_run.save_segmenter(artifacts, tiny_run.network())
    return artifacts


def test_eval_explain_mlflow_and_the_api_predict_as_the_network_itself(project: Artifacts) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = Predictor(tiny_run.network(), [1, 2, 3]).probabilities(image[None])[0]
    task = PredictTask(project.root, tiny_run.CLASSES.names, tiny_run.params().eval, Path())
    task.setup("cpu")
    folder = project.segmenter_folder
    for one in (
        predictor.load(folder)[0],
        segmenter.load(folder).predictor,
        segmenter.assemble(*project.load_segmenter()).predictor,
        task.predictor,
        Explainer(project)._predictor,
    ):
        np.testing.assert_array_equal(one.probabilities(image[None])[0], expected)
    np.testing.assert_array_equal(model._load_pyfunc(str(folder)).predict(image), expected.argmax(0))


def test_weights_and_config_that_do_not_fit_name_their_folder(project: Artifacts) -> None:
    state, config = project.load_segmenter()
    with pytest.raises(DataError, match="^far/away: expected weights and a config that fit each other"):
        predictor.assemble({}, config, where="far/away")
    unknown: dict[str, Any] = {**config, "architecture": "unett"}
    with pytest.raises(ParamsError, match=r"^far/away: expected one of .*found 'unett'; did you mean 'unet'\?"):
        predictor.assemble(state, unknown, where="far/away")


def test_a_folder_without_a_model_says_so_and_the_architecture_is_checked_before_weights(
    project: Artifacts, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"expected a trained model \(config.json and model.safetensors\), found no"):
        predictor.load(tmp_path / "nowhere")
    config = project.load_segmenter_config()
    project.save_segmenter_config({**config, "architecture": "unett"})
    project.segmenter_weights.write_bytes(b"broken")
    with pytest.raises(ParamsError, match=r"config\.json: expected one of "):
        predictor.load(project.segmenter_folder)
