"""The public API against the stages: on one frame its functions give the stage's own labels, maps, mask and ids."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wildseg as ws
from tests.encoders.models import noise, save
from tests.shared import shipped_params
from tests.stages import tiny_run
from wildseg.artifacts.project import Artifacts, Frame, PromptSet
from wildseg.core.errors import DataError, ModelError, ParamsError, WildsegError
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.stages import crf, label
from wildseg.stages.cam import stage as cam

ROOT = Path(__file__).parents[2]
CPU = Runtime(1, "cpu")
FRAME = "drive_000000"
MAPPING = {"sky": ["sky", "clouds"], "tree": "tree", "cement_road": "cement road"}
CLASSES = ws.Classes(MAPPING)
BACKGROUND = ("wall", "a building")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As a stage's workers have it: the last bit of a sum depends on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    artifacts = Artifacts(tmp_path)
    artifacts.save_image(FRAME, noise((48, 64), 0))
    artifacts.save_frames([Frame(FRAME, "drive", 0, 0.0, "train")])
    return artifacts


@pytest.fixture
def values(project: Artifacts) -> Params:
    """The defaults of params.yaml with three classes and a small CLIP."""
    whole = shipped_params()
    name, weights = save(project.root, "tiny")
    return replace(whole, classes=CLASSES, clip=replace(whole.clip, model=name, pretrained=Path(weights).name))


@pytest.fixture
def clip(project: Artifacts, values: Params) -> ws.Clip:
    return ws.load_clip(values.clip.model, values.clip.pretrained, device="cpu", root=project.root)


# The stage's own results ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [(), BACKGROUND])
@pytest.mark.parametrize("method", ["clip", "tagclip"])
def test_labels_are_those_of_the_stage(
    project: Artifacts, values: Params, clip: ws.Clip, method: str, background: tuple[str, ...]
) -> None:
    values = replace(values, background=background, label=replace(values.label, method=method, fallback="argmax"))
    label.run(values, project, CPU)
    image = project.load_image(FRAME)
    labels = ws.label_image(image, CLASSES, clip, method, background=background, fallback="argmax")
    assert labels.scores.shape == labels.present.shape == (3,)
    np.testing.assert_array_equal(labels.present, project.load_labels(CLASSES.names)[FRAME])
    written = [f"{score:.6f}" for score in labels.scores]
    assert written == project.scores_csv.read_text().splitlines()[1].split(",")[1:]
    assert labels.names == tuple(np.array(CLASSES.names)[labels.present])
    written = [f"{prior:.6f}" for prior in labels.priors]
    assert written == project.priors_csv.read_text().splitlines()[1].split(",")[1:]
    assert (labels.priors > 0).tolist() == labels.present.tolist()
    if method == "tagclip":  # whose scores are no probabilities
        assert set(labels.priors) <= {0.0, 1.0}


def test_a_threshold_and_an_option_reach_the_decision(project: Artifacts, values: Params, clip: ws.Clip) -> None:
    chosen = {"threshold": {"sky": 0.0, "tree": 1.0}, "rule": "fixed", "options": {"tiles": 1}}
    changed = {**chosen, "options": {"clip": {"tiles": 1}}}
    label.run(replace(values, label=replace(values.label, **changed)), project, CPU)
    labels = ws.label_image(project.load_image(FRAME), CLASSES, clip, **chosen)
    assert labels.present[:2].tolist() == [True, False]
    np.testing.assert_array_equal(labels.present, project.load_labels(CLASSES.names)[FRAME])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "hirescam", "flip": True, "scales": (1.0,), "max_side": 40},
        {"method": "softmax_gradcam", "refine": "caa", "options": {"pool": "patches"}},
        {"refine": ("lposs", "propagate"), "refine_options": {"propagate": {"tau": 2.0, "side": 20}}},
    ],
    ids=["defaults", "hirescam", "caa", "lposs, propagate"],
)
def test_maps_masks_and_confidence_are_those_of_the_stages(
    project: Artifacts, values: Params, clip: ws.Clip, changes: dict[str, Any]
) -> None:
    method = changes.get("method", values.cam.method)
    options = {method: changes["options"]} if "options" in changes else values.cam.options
    chosen = {**changes, "options": {**options, **changes.get("refine_options", {})}}
    chosen.pop("refine_options", None)
    values = replace(values, background=BACKGROUND, cam=replace(values.cam, **chosen))
    present = np.array([True, False, True])
    project.save_labels([FRAME], CLASSES.names, present[None])
    project.save_prompts(PromptSet(("a photo of {}.",), BACKGROUND))
    project.save_priors([FRAME], CLASSES.names, np.array([[1.0, 0.0, 0.25]]))
    cam.run(values, project, CPU)
    crf.run(values, project, CPU)

    image = project.load_image(FRAME)
    maps = ws.activation_maps(image, present, CLASSES, clip, background=BACKGROUND, **changes)
    np.testing.assert_array_equal(maps, project.load_maps(FRAME)[1])
    assert maps.dtype == np.float32
    priors = np.array([1.0, 0.0, 0.25])
    mask, confidence = ws.pseudo_mask(image, maps, present, background=BACKGROUND, priors=priors)
    np.testing.assert_array_equal(mask, project.load_mask(FRAME))
    assert project.encode_confidence(confidence) == project.confidence_path(FRAME).read_bytes()


def test_parameters_of_the_crf_reach_the_mask(project: Artifacts, values: Params) -> None:
    present, maps = np.array([True, True, False]), np.random.default_rng(0).random((2, 6, 8)).astype(np.float16)
    project.save_labels([FRAME], CLASSES.names, present[None])
    project.save_maps(FRAME, np.array([0, 1]), maps)
    project.save_priors([FRAME], CLASSES.names, np.array([[0.5, 1.0, 0.0]]))
    chosen = {
        "alpha": 2.0,
        "label_prior": 2.0,
        "sharpen": 1.0,
        "iterations": 2,
        "image_mode": "wrap_bgr_mean",
        "confidence_from": "maps",
    }
    bilateral = replace(values.crf.bilateral, weight=2.0, sxy=11.0)
    crf.run(replace(values, crf=replace(values.crf, bilateral=bilateral, **chosen)), project, CPU)
    mask, _ = ws.pseudo_mask(
        project.load_image(FRAME),
        maps.astype(np.float32),
        present,
        priors=np.array([0.5, 1.0, 0]),
        bilateral={"weight": 2, "sxy": 11},
        **chosen,
    )
    np.testing.assert_array_equal(mask, project.load_mask(FRAME))
    assert 0 < (mask == 255).mean() < 1


def test_an_image_of_no_class_goes_all_the_way_through(project: Artifacts, clip: ws.Clip) -> None:
    image, nothing = project.load_image(FRAME), np.zeros(3, bool)
    maps = ws.activation_maps(image, nothing, CLASSES, clip)
    assert maps.shape == (0, 9, 12)
    mask, confidence = ws.pseudo_mask(image, maps, nothing)
    assert (mask == 255).all()
    assert (confidence == 0).all()
    mask, confidence = ws.pseudo_mask(image, maps, nothing, background=BACKGROUND)
    assert (mask == 0).all()
    assert (confidence == 1).all()


# Defaults ------------------------------------------------------------------------------------------------------------


def defaults(function: object) -> dict[str, Any]:
    given = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return {one.name: one.default for one in given if one.default is not one.empty}


OLD = {"min_confidence": "confidence", "pos_embed_interpolation": "positions"}  # names that params.yaml still has


def named(section: object, parameter: str) -> Any:  # noqa: ANN401
    return getattr(section, parameter if hasattr(section, parameter) else OLD[parameter])


def test_the_defaults_are_those_of_params_yaml() -> None:
    values = shipped_params()
    sections = {"label_image": values.label, "activation_maps": values.cam, "pseudo_mask": values.crf}
    elsewhere = {"background": values.background, "templates": values.clip.templates}
    # None: what follows, and what methods declare themselves
    not_there = {"options", "caa", "refine_options", "priors", "gaussian", "bilateral"}
    for name, section in sections.items():
        for parameter, value in defaults(getattr(ws, name)).items():
            if parameter not in not_there:
                wanted = elsewhere[parameter] if parameter in elsewhere else named(section, parameter)
                assert value == wanted, f"{name}({parameter})"
    for function in (ws.Segmenter.predict, ws.Segmenter.probabilities):
        assert defaults(function) == {
            "scales": values.eval.scales, "flip": values.eval.flip, "window": None, "max_side": None,
        }  # fmt: skip


# Measures ------------------------------------------------------------------------------------------------------------


def test_measures_are_worked_out_by_hand() -> None:
    truth = np.array([[1, 1, 2, 255], [1, 2, 2, 0]])
    ids = np.array([[1, 2, 2, 3], [1, 2, 255, 0]])
    # truth x prediction: background 1 right; sky 2 of 3, the third as tree; tree 2 of 3, the third undecided
    result = ws.evaluate(ids, truth, CLASSES)
    assert result.class_iou == pytest.approx(
        {"background": 1, "sky": 2 / 3, "tree": 2 / 4, "cement_road": float("nan")}, nan_ok=True
    )
    assert result.miou == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert result.miou_foreground == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result.mean_iou("all") == pytest.approx((1 + 2 / 3 + 1 / 2) / 4)
    assert result.recall == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert result.class_recall["tree"] == pytest.approx(2 / 3)
    assert result.pixel_accuracy == pytest.approx(5 / 7)
    assert result.fwiou == pytest.approx((1 * 1 + 3 * 2 / 3 + 3 / 2) / 7)
    assert result.coverage == pytest.approx(6 / 7)
    assert result.confusion.sum() == 7


def test_several_frames_share_one_confusion_matrix() -> None:
    frames = [np.full((2, 3), 1), np.full((4, 1), 2)]
    truths = [np.full((2, 3), 1), np.full((4, 1), 1)]
    result = ws.evaluate(frames, truths, CLASSES)
    assert result.class_iou["sky"] == pytest.approx(6 / 10)
    assert result.miou == pytest.approx((6 / 10 + 0) / 2)


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        [[0]],
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_image_is_told_by_its_shape_and_type(image: Any, clip: ws.Clip) -> None:  # noqa: ANN401
    everything, maps = np.ones(3, bool), np.zeros((3, 2, 2))
    calls = (
        lambda: ws.label_image(image, CLASSES, clip),
        lambda: ws.activation_maps(image, everything, CLASSES, clip),
        lambda: ws.pseudo_mask(image, maps, everything),
    )
    for call in calls:
        with pytest.raises(DataError, match="image: expected"):
            call()


WRONG_LABELS = [
    ({"method": "clpi"}, "method: expected one of clip, .*did you mean 'clip'"),
    ({"method": "given"}, "expected a label method that needs an image-text model alone, clip or tagclip"),
    ({"method": "vlm_direct", "options": {"prompt": "{classes}"}}, "image-text model alone"),
    ({"options": {"tile": 2}}, r"options\.tile: clip has no such option.*did you mean 'tiles'"),
    ({"options": {"tiles": 0}}, r"options\.tiles: expected a whole number from 1 to 16"),
    ({"threshold": {"sea": 0.5}}, r"threshold\.sea: there is no such class"),
    ({"threshold": 1.5}, "threshold: expected a number from 0 to 1"),
    ({"rule": "absolute"}, "rule: expected one of auto, fixed, relative"),
    ({"fallback": "best"}, "fallback: expected one of none, argmax"),
    ({"background": "auto"}, "background: expected a list of texts, found 'auto'"),
    ({"templates": "a photo of {}."}, "templates: expected a list of texts"),
    ({"templates": ["a photo"]}, r"templates: expected sentences with \{\} where the class goes"),
]


@pytest.mark.parametrize(("wrong", "line"), WRONG_LABELS)
def test_a_value_that_means_nothing_to_labels_is_one_line(wrong: dict[str, Any], line: str, clip: ws.Clip) -> None:
    with pytest.raises(ParamsError, match=line) as caught:
        ws.label_image(noise((48, 64), 0), CLASSES, clip, **wrong)
    assert "\n" not in str(caught.value)


WRONG_MAPS = [
    ({"method": "grad_cam"}, "method: expected one of .*did you mean 'gradcam'"),
    ({"refine": "crf"}, "refine: expected one of caa, features, lposs, memory, none, pamr, propagate; found 'crf'"),
    ({"refine": "memory"}, "refine: memory reads a bank of a project's own frames; use it by 'dvc repro'"),
    ({"refine": ["propagate", "caa"]}, "refine: expected caa before propagate"),
    ({"refine_options": {"pamr": {"step": 3}}}, r"refine_options\.pamr\.step: pamr has no such option; .* 'steps'"),
    ({"refine_options": {"pmar": {}}}, "refine_options: expected one of .*; found 'pmar'; did you mean 'pamr'"),
    ({"scales": []}, "scales: expected a list of 1 to 16 entries"),
    ({"max_side": 0}, "max_side: expected a whole number from 1"),
    ({"pos_embed_interpolation": "nearest"}, "pos_embed_interpolation: expected one of"),
    ({"caa": {"layer": 3}}, r"caa\.layer: there is no such parameter; did you mean 'layers'"),
    ({"options": {"pool": "mean"}}, "gradcam has no such option"),
]


@pytest.mark.parametrize(("wrong", "line"), WRONG_MAPS)
def test_a_value_that_means_nothing_to_maps_is_one_line(wrong: dict[str, Any], line: str, clip: ws.Clip) -> None:
    with pytest.raises(ParamsError, match=line) as caught:
        ws.activation_maps(noise((48, 64), 0), np.ones(3, bool), CLASSES, clip, **wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("present", [np.ones(2, bool), np.ones(3), np.ones((1, 3), bool), [0, 2]])
def test_classes_that_are_not_one_bool_each_are_told(present: Any, clip: ws.Clip) -> None:  # noqa: ANN401
    with pytest.raises(DataError, match=r"present: expected \(3,\) bool, one per class; found"):
        ws.activation_maps(noise((48, 64), 0), present, CLASSES, clip)


WRONG_MASKS = [
    ({"min_confidence": 2}, "min_confidence: expected a number from 0 to 1"),
    ({"iterations": -1}, "iterations: expected a whole number from 0"),
    ({"bilateral": {"sigma": 3}}, r"bilateral\.sigma: there is no such parameter"),
    ({"gaussian": {"sxy": 0}}, r"gaussian\.sxy: expected a number from 0\.1"),
    ({"image_mode": "bgr"}, "image_mode: expected one of rgb"),
    ({"confidence_from": "map"}, "confidence_from: expected one of posterior, maps"),
]


@pytest.mark.parametrize(("wrong", "line"), WRONG_MASKS)
def test_a_value_that_means_nothing_to_masks_is_one_line(wrong: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        ws.pseudo_mask(noise((8, 8), 0), np.zeros((1, 2, 2)), np.array([True]), **wrong)


def test_maps_that_do_not_fit_the_classes_present_are_told() -> None:
    image, maps = noise((8, 8), 0), np.zeros((2, 2, 2))
    with pytest.raises(DataError, match="maps: expected classes"):
        ws.pseudo_mask(image, maps, np.array([True, False]))
    with pytest.raises(DataError, match=r"maps: expected values in \[0, 1\]"):
        ws.pseudo_mask(image, maps - 1, np.array([True, True]))
    for priors in (np.array([0.5]), np.array([0.5, 1.5]), np.array([0.5, np.nan])):
        with pytest.raises(DataError, match=r"priors: expected 2 numbers from 0 to 1, one per class, found \["):
            ws.pseudo_mask(image, maps, np.array([True, True]), priors=priors)


def test_truths_and_predictions_that_do_not_fit_are_told() -> None:
    with pytest.raises(DataError, match="expected as many predictions as truths, found 1 and 2"):
        ws.evaluate([np.zeros((2, 2), int)], [np.zeros((2, 2), int)] * 2, CLASSES)
    with pytest.raises(DataError, match="expected true ids below 4 or 255, found 4 to 4"):
        ws.evaluate(np.zeros((2, 2), int), np.full((2, 2), 4), CLASSES)


def test_a_model_or_a_device_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"clip\.model: expected a model of open_clip.*did you mean 'ViT-B-16'"):
        ws.load_clip("ViT-B-61", "openai", device="cpu")
    with pytest.raises(WildsegError, match="^device: expected auto, cpu or cuda, found 'gpu'"):
        ws.load_clip("ViT-B-16", "openai", device="gpu")
    with pytest.raises(DataError, match=r"expected a trained model .*found no config\.json"):
        ws.load_segmenter(tmp_path, device="cpu")
    (tmp_path / "config.json").write_text('{"architecture": "u_net"}')
    with pytest.raises(
        ParamsError, match=r"config\.json: expected one of .*unet, .*; found 'u_net'; did you mean 'unet'"
    ):
        ws.load_segmenter(tmp_path, device="cpu")
    (tmp_path / "config.json").write_text('{"architecture": "unet"}')
    with pytest.raises(DataError, match=r"model\.safetensors: expected a trained model"):
        ws.load_segmenter(tmp_path, device="cpu")


# The trained model ---------------------------------------------------------------------------------------------------


def test_a_segmenter_gives_what_eval_measures(tmp_path: Path) -> None:
    from wildseg.core.images import load_label_image
    from wildseg.execution.run_frames import run_frames
    from wildseg.stages.eval.task import PredictTask

    artifacts = tiny_run.make(tmp_path)
    tiny_run.save_segmenter(artifacts, tiny_run.network())
    names = [frame.name for frame in tiny_run.FRAMES]
    (tmp_path / "predictions").mkdir()
    twice = tiny_run.params(scales=(1.0, 1.5), flip=True).eval
    task = PredictTask(artifacts.root, tiny_run.CLASSES.names, twice, tmp_path / "predictions")
    run_frames(task, names, CPU)
    model = ws.load_segmenter(artifacts.segmenter_folder, device="cpu")
    for name in names:
        ids = model.predict(artifacts.load_image(name), scales=(1.0, 1.5), flip=True)
        np.testing.assert_array_equal(ids, load_label_image(*task.outputs(name).values()))
