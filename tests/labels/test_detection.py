"""What is done with detectors' boxes, and tiny detectors of random weights against the arithmetic of their papers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    Owlv2ForObjectDetection,
    Owlv2Processor,
)

from tests.hub import Hub
from tests.labels import tiny_detectors
from wildseg.core import progress
from wildseg.core.errors import ModelError
from wildseg.labels.detection import postprocess, present
from wildseg.methods.detectors import grounding_dino, owlv2

PHRASES = (("lawn", "grass"), ("road",), ("red brick",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("detectors")
    tiny_detectors.owlv2(root / "owlv2")
    tiny_detectors.grounding_dino(root / "grounding_dino")
    return root


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


# Afterwards ----------------------------------------------------------------------------------------------------------


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    width, height = (min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


def test_of_boxes_that_overlap_the_best_stays_whatever_its_class() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        corner, side = rng.uniform(0, 60, (30, 2)), rng.uniform(20, 40, (30, 2))
        boxes = np.column_stack([corner, corner + side, rng.integers(1, 4, 30), rng.permutation(30) / 30])
        expected: list[np.ndarray] = []
        for box in boxes[(-boxes[:, 5]).argsort()]:
            if all(overlap(box, other) <= 0.5 for other in expected):
                expected.append(box)
        assert 1 < len(expected) < 30
        assert postprocess(boxes, (100, 100), 0.5).tolist() == np.array(expected).tolist()


def test_boxes_are_cut_off_at_the_frame_and_empty_ones_go() -> None:
    boxes = np.array([[-5, -5, 10, 10, 1, 0.9], [30, 15, 60, 60, 2, 0.8], [41, 0, 50, 9, 3, 0.7], [5, 25, 9, 31, 1, 1]])
    assert postprocess(boxes, (40, 20), 0.5).tolist() == [[0, 0, 10, 10, 1, 0.9], [30, 15, 40, 20, 2, 0.8]]
    assert postprocess(boxes[:0], (40, 20), 0.5).shape == (0, 6)


def test_a_class_is_there_if_its_best_box_reaches_its_threshold() -> None:
    boxes = np.array([[0, 0, 1, 1, 1, 0.2], [0, 0, 1, 1, 1, 0.5], [0, 0, 1, 1, 3, 0.3]])
    assert present(boxes, [0.5, 0.0, 0.31]).tolist() == [True, False, False]
    assert present(boxes, [0.51, 0.0, 0.3]).tolist() == [False, False, True]
    assert present(boxes[:0], [0.0, 0.0]).tolist() == [False, False]


# OWLv2 ---------------------------------------------------------------------------------------------------------------


def by_hand(path: Path, image: np.ndarray, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (cx, cy, w, h) in shares of the padded square (n, 4), the best text (n,) and its score (n,)."""
    network = Owlv2ForObjectDetection.from_pretrained(path)
    inputs = Owlv2Processor.from_pretrained(path)(text=[list(texts)], images=image, return_tensors="pt")
    with torch.no_grad():
        outputs = network(**inputs)
    scores = 1 / (1 + np.exp(-outputs.logits[0].double().numpy()))
    return outputs.pred_boxes[0].double().numpy(), scores.argmax(1), scores.max(1)


@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (64, 64)])
def test_boxes_of_owlv2_are_shares_of_the_padded_square(folder: Path, shape: tuple[int, int]) -> None:
    image = picture(*shape)
    found = owlv2.load(str(folder / "owlv2"), "cpu")(image, PHRASES, 0.0)
    texts = [f"a photo of a {phrase}" for phrase in ("lawn", "grass", "road", "red brick")]
    relative, best, scores = by_hand(folder / "owlv2", image, texts)
    kept = scores > 0
    centre, half = relative[kept, :2] * max(shape), relative[kept, 2:] * max(shape) / 2
    np.testing.assert_allclose(found[:, :4], np.hstack([centre - half, centre + half]), rtol=1e-4, atol=1e-3)
    assert found[:, 4].tolist() == np.array([1, 1, 2, 3])[best[kept]].tolist()
    np.testing.assert_allclose(found[:, 5], scores[kept], rtol=1e-4, atol=1e-6)
    if shape[0] == shape[1]:  # there, the frame's own sides are those of the square
        size = np.array([shape[1], shape[0]])
        np.testing.assert_allclose(found[:, :2], relative[kept, :2] * size - half, rtol=1e-4, atol=1e-3)


def test_a_higher_threshold_leaves_the_better_boxes(folder: Path) -> None:
    for name, detector in (("owlv2", owlv2), ("grounding_dino", grounding_dino)):
        detect = detector.load(str(folder / name), "cpu")
        all_of_them = detect(picture(48, 80), PHRASES, 0.0)
        cut = float(np.median(all_of_them[:, 5]))
        some = detect(picture(48, 80), PHRASES, cut)
        assert 0 < len(some) < len(all_of_them)
        assert some.tolist() == all_of_them[all_of_them[:, 5] > cut].tolist()
        assert detect(picture(48, 80), PHRASES, 1.0).shape == (0, 6)


def test_a_phrase_that_would_be_cut_off_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    detect = owlv2.load(str(folder / "owlv2"), "cpu")  # reads 32 tokens, here letters
    with pytest.raises(
        ModelError, match=r"at most 32 tokens, found 33 in 'a photo of a yellow pavement of bricks'; give"
    ):
        detect(picture(48, 80), (("lawn",), ("yellow pavement of bricks",)), 0.3)
    assert caplog.text == ""  # the tokenizer has a warning for this


# Grounding DINO ------------------------------------------------------------------------------------------------------


def test_phrases_are_one_text_of_lower_case_with_dots() -> None:
    phrases = (("Road",), ("curb.", "kerb  stone"), ("st. mary? no",))
    assert grounding_dino.sentence(phrases) == "road. curb. kerb stone. st mary no."


def test_tokens_belong_to_the_phrase_that_the_next_dot_ends() -> None:
    dots = [False, False, False, True, False, True, False]  # [CLS] red path . lawn . [SEP]
    assert grounding_dino.phrase_of(dots).tolist() == [-1, 0, 0, -1, 1, -1, -1]


PLACES = np.array([-1, 0, 0, -1, 1, 1, -1, 2, -1, -1])  # [CLS] red path . yellow path . lawn . [SEP]


@pytest.mark.parametrize(
    ("scores", "threshold", "expected"),
    [
        ([0.0, 0.5, 0.5, 0.0, 0.1, 0.2, 0.0, 0.0, 0.0, 0.0], 0.25, 1),
        ([0.0, 0.1, 0.1, 0.0, 0.2, 0.5, 0.0, 0.0, 0.0, 0.0], 0.25, 2),  # the path of the yellow one
        ([0.0, 0.0, 0.3, 0.0, 0.3, 0.3, 0.0, 0.9, 0.0, 0.0], 0.25, 2),  # two of four, against one of four or of five
        ([0.0, 0.3, 0.0, 0.0, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0], 0.25, 2),  # equal shares: the better token
        ([0.0, 0.3, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0], 0.25, 1),  # and the first
        ([0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0], 0.05, 3),  # none stands out
        ([0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0], 0.25, 0),
        ([0.9, 0.0, 0.0, 0.9, 0.0, 0.0, 0.9, 0.0, 0.9, 0.9], 0.25, 0),  # no word
    ],
)
def test_a_box_is_of_the_class_whose_words_stand_out(scores: list[float], threshold: float, expected: int) -> None:
    assert grounding_dino.class_of(np.array(scores), PLACES, [1, 2, 3], threshold) == expected


def test_boxes_and_scores_are_those_of_the_published_code(folder: Path) -> None:
    path, image = folder / "grounding_dino", picture(48, 80)
    processor = GroundingDinoProcessor.from_pretrained(path)
    inputs = processor(images=image, text="lawn. grass. road. red brick.", return_tensors="pt")
    with torch.no_grad():
        outputs = GroundingDinoForObjectDetection.from_pretrained(path).eval()(**inputs)
    post: Any = processor.post_process_grounded_object_detection
    expected = post(outputs, inputs["input_ids"], 0.3, 0.25, [(48, 80)])[0]
    owner = {"lawn": 1, "grass": 1, "road": 2, "red": 3, "brick": 3}
    named = [{owner[word] for word in text.replace(".", " ").split() if word in owner} for text in
             expected["text_labels"]]  # fmt: skip
    some = [number for number, ids in enumerate(named) if ids]  # the others have a dot, or nothing
    found = grounding_dino.load(str(path), "cpu")(image, PHRASES, 0.3)
    assert len(found) == len(some) > 3
    np.testing.assert_allclose(found[:, :4], expected["boxes"].numpy()[some], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found[:, 5], expected["scores"].numpy()[some], rtol=1e-5)
    assert all(value in named[number] for value, number in zip(found[:, 4], some, strict=True))


def test_below_a_quarter_the_best_word_counts(folder: Path) -> None:
    path, image = folder / "grounding_dino", picture(48, 80)
    inputs = GroundingDinoProcessor.from_pretrained(path)(
        images=image, text="lawn. grass. road. red brick.", return_tensors="pt"
    )
    with torch.no_grad():
        logits = GroundingDinoForObjectDetection.from_pretrained(path).eval()(**inputs).logits[0]
    words = logits.sigmoid()[:, [1, 3, 5, 7, 8]].max(1).values
    detect = grounding_dino.load(str(path), "cpu")
    for threshold, number in ((0.0, 12), (0.05, 11), (0.1, 10)):
        assert len(detect(image, PHRASES, threshold)) == int((words > threshold).sum()) == number


def test_more_words_than_it_reads_are_told(folder: Path) -> None:
    detect = grounding_dino.load(str(folder / "grounding_dino"), "cpu")
    with pytest.raises(ModelError, match=r"at most 32 tokens in all, found 42; give fewer"):
        detect(picture(48, 80), [("road",)] * 20, 0.3)


# Weights that cannot be used -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", [owlv2, grounding_dino])
def test_a_model_of_the_hub_is_fetched_with_progress_and_finds_what_that_in_a_folder_finds(
    detector: Any,  # noqa: ANN401
    folder: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = folder / detector.__name__.rpartition(".")[2]
    hub.repositories["makers/detector"] = {path.name: path.read_bytes() for path in here.iterdir()}
    monkeypatch.setattr(progress, "MEGABYTE", 1e4)  # it is a small one
    image = picture(48, 80)
    fetched, own = (detector.load(model, "cpu")(image, PHRASES, 0.0) for model in ("makers/detector", str(here)))
    np.testing.assert_array_equal(fetched, own)
    assert "makers/detector/model.safetensors: download begins, " in capsys.readouterr().err


def test_a_model_of_another_kind_on_the_hub_is_told_before_its_weights_are_fetched(folder: Path, hub: Hub) -> None:
    config = (folder / "grounding_dino" / "config.json").read_bytes()
    hub.repositories["makers/detector"] = {"config.json": config, "model.safetensors": b""}
    with pytest.raises(ModelError, match=r"\(its config is of 'grounding-dino'\)$"):
        owlv2.load("makers/detector", "cpu")
    assert not any("safetensors" in asked for asked in hub.asked)


def test_a_model_that_the_hub_does_not_have_is_told_with_the_hub(hub: Hub) -> None:
    with pytest.raises(ModelError, match=f"it could not be fetched from {hub.address}/makers/none.*no such repository"):
        owlv2.load("makers/none", "cpu")


@pytest.mark.parametrize("detector", [owlv2, grounding_dino])
def test_a_folder_of_something_else_is_told_in_one_line(detector: Any, folder: Path, tmp_path: Path) -> None:  # noqa: ANN401
    other = folder / ("grounding_dino" if detector is owlv2 else "owlv2")
    for path in (tmp_path, tmp_path / "nowhere", other):
        with pytest.raises(ModelError, match="expected a folder, or the name on the model hub, of ") as caught:
            detector.load(str(path), "cpu")
        assert "\n" not in str(caught.value)


def test_a_model_of_another_kind_is_told_without_a_report(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        ModelError, match=r"of OWLv2 with weights as safetensors \(its config is of 'grounding-dino'\)$"
    ):
        owlv2.load(str(folder / "grounding_dino"), "cpu")
    owlv2.load(str(folder / "owlv2"), "cpu")
    assert "".join(capfd.readouterr()) == ""
