"""The words that the label stage decides: background phrases, and the sharpest template."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.encoders.models import noise, save
from tests.shared import shipped_params
from wildseg.artifacts.project import Artifacts, Frame, PromptSet
from wildseg.core.errors import DataError
from wildseg.core.files import load_json
from wildseg.encoders import clip
from wildseg.execution import params, result_store
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.labels.sharpness import rank
from wildseg.stages import label
from wildseg.stages.cam import stage as cam
from wildseg.stages.prompts import sample

ROOT = Path(__file__).parents[2]
CPU = Runtime(1, "cpu")
CANDIDATES = ("a photo of {}.", "{}", "a clean origami {}.", "the {} in a video game.", "itap of my {}.")
FRAMES = [Frame(f"drive_{i:06d}", "drive", i, i / 5, "train" if i < 10 else "test") for i in range(12)]
NAMES = ("sky", "tree", "cement_road")


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    artifacts = Artifacts(tmp_path)
    for frame in FRAMES:
        artifacts.save_image(frame.name, noise((48, 64), frame.index))
    artifacts.save_frames(FRAMES)
    return artifacts


@pytest.fixture
def values(project: Artifacts) -> Params:
    """All classes in each frame, the templates to be chosen."""
    whole = shipped_params()
    name, weights = save(project.root, "tiny")
    sharpest = replace(whole.clip.sharpest, candidates=CANDIDATES, guard=1.0)
    return replace(
        whole,
        classes=params.Classes.from_mapping({"sky": ["sky", "clouds"], "tree": "tree", "cement_road": "cement road"}),
        clip=replace(whole.clip, model=name, pretrained=Path(weights).name, templates="sharpest", sharpest=sharpest),
        background=(),
        label=replace(whole.label, method="clip", threshold=0.0, fallback="none", options={"clip": {"tiles": 1}}),
    )


def table(project: Artifacts) -> list[dict[str, str]]:
    with project.metrics_path("label/templates.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def said_of_templates(output: str) -> list[str]:
    return [line for line in output.splitlines() if "templates" in line]


def by_hand(project: Artifacts, values: Params, present: np.ndarray, frames: list[Frame]) -> list[str]:
    """The ranking with each template asked about by itself, one image after the other, by open_clip's own functions."""
    model = clip.load(values.clip.model, values.clip.pretrained, root=project.root)
    probabilities = np.zeros((len(frames), len(CANDIDATES), len(NAMES)))
    for t, template in enumerate(CANDIDATES):
        texts = model.classifier(values.classes.phrases, [template])
        for i, frame in enumerate(frames):
            pixels = model.pixels([clip.resize(project.load_image(frame.name), model.size)])
            cosine = model.network.encode_image(pixels, normalize=True) @ texts.T
            probabilities[i, t] = torch.softmax(cosine * model.scale, -1)[0].detach()
    ranking = rank(CANDIDATES, probabilities, present, values.clip.sharpest)
    return [one.template for one in ranking.candidates]


# Templates -----------------------------------------------------------------------------------------------------------


def test_templates_are_ranked_on_frames_of_the_training_split_and_the_best_is_asked_with(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    label.run(values, project, CPU)
    expected = by_hand(project, values, np.ones((10, 3), bool), FRAMES[:10])
    assert [row["template"] for row in table(project)] == expected
    assert [row["verdict"] for row in table(project)] == ["chosen", "", "", "", ""]
    assert project.load_prompts() == PromptSet((expected[0],), ())
    measured = load_json(project.metrics_path("label.json"))["sharpest"]
    assert measured["template"] == expected[0]
    assert f"{measured['sharpness']:.6f}" == table(project)[0]["sharpness"]
    (line,) = said_of_templates(capsys.readouterr().out)
    assert line.startswith(f"label: {expected[0]!r} is the sharpest of 5 templates, {measured['sharpness']:.4f} on 10 ")
    before = project.scores_csv.read_bytes()
    label.run(replace(values, clip=replace(values.clip, templates=(expected[0],))), project, CPU)
    assert project.scores_csv.read_bytes() == before


def test_a_person_says_which_classes_are_in_a_frame(project: Artifacts, values: Params) -> None:
    rng = np.random.default_rng(3)
    present = rng.random((12, 3)) < 0.7
    rows = [f'{f.name},"{",".join(n for n, is_in in zip(NAMES, row, strict=True) if is_in)}"'
            for f, row in zip(FRAMES, present, strict=True)]  # fmt: skip
    project.overrides_csv.parent.mkdir(parents=True)
    project.overrides_csv.write_text("\n".join(["Frame,Labels", *rows]) + "\n")
    label.run(values, project, CPU)
    order = [row["template"] for row in table(project)]
    assert order == by_hand(project, values, present[:10], FRAMES[:10])
    project.overrides_csv.unlink()
    (project.root / "given.csv").write_text("\n".join(["Frame,Labels", *rows]) + "\n")
    given = replace(values, label=replace(values.label, method="given", options={"given": {"path": "given.csv"}}))
    label.run(given, project, CPU)
    assert [row["template"] for row in table(project)] == order


def by_table(project: Artifacts, values: Params) -> Params:
    """Labels that are given, so that only the templates need the model."""
    given = "Frame,Labels\n" + "".join(f'{frame.name},"sky,tree"\n' for frame in FRAMES)
    (project.root / "given.csv").write_text(given)
    return replace(values, label=replace(values.label, method="given", options={"given": {"path": "given.csv"}}))


@pytest.mark.usefixtures("forked_workers")
def test_any_number_of_workers_chooses_the_same_and_writes_the_same_bytes(project: Artifacts, values: Params) -> None:
    values = replace(by_table(project, values), background="auto")
    files = (project.prompts_json, project.metrics_path("label/templates.csv"), project.metrics_path("label.json"))
    label.run(values, project, CPU)
    before = [path.read_bytes() for path in files]
    label.run(values, project, Runtime(2, "cpu"))
    assert [path.read_bytes() for path in files] == before


def test_a_frame_is_encoded_once_for_all_templates_and_never_again(
    project: Artifacts, values: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(result_store.VARIABLE)
    encoded: list[int] = []
    plain = clip.Clip.image_features
    monkeypatch.setattr(clip.Clip, "image_features", _counted(plain, encoded))
    values = by_table(project, values)
    label.run(values, project, CPU)
    assert sum(encoded) == 10
    label.run(values, project, CPU)
    assert sum(encoded) == 10


def _counted(plain: Callable[..., torch.Tensor], encoded: list[int]) -> Callable[..., torch.Tensor]:
    def count(self: clip.Clip, pixels: torch.Tensor) -> torch.Tensor:
        encoded.append(len(pixels))
        return plain(self, pixels)

    return count


def test_too_few_frames_of_two_classes_are_said_and_the_template_most_often_right_is_taken(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    few = replace(values.clip, sharpest=replace(values.clip.sharpest, frames=5))
    label.run(replace(values, clip=few), project, CPU)
    (line,) = said_of_templates(capsys.readouterr().out)
    assert line == (
        "label: 5 of 5 frames show two classes or more, too few to rank templates by sharpness (8 are needed); "
        f"of 5, {CANDIDATES[0]!r} is used: the highest top-1 accuracy, 100.0%"
    )
    assert project.load_prompts().templates == CANDIDATES[:1]


def test_no_class_in_any_frame_takes_the_first_template_and_is_then_told_as_ever(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="found none"):
        label.run(replace(values, label=replace(values.label, threshold=1.0)), project, CPU)
    (line,) = said_of_templates(capsys.readouterr().out)
    assert line.endswith(f"of 5, {CANDIDATES[0]!r} is used: no frame shows any class")
    assert not project.prompts_json.exists()


def test_a_frame_that_cannot_be_read_is_not_looked_at(project: Artifacts, values: Params) -> None:
    project.frame_path(FRAMES[3].name).write_bytes(b"torn")
    label.run(replace(values, label=replace(values.label, max_failures=0.1)), project, CPU)
    readable = [frame for frame in FRAMES[:10] if frame.index != 3]
    assert [row["template"] for row in table(project)] == by_hand(project, values, np.ones((9, 3), bool), readable)


def test_frames_are_spread_evenly_over_the_training_split() -> None:
    assert sample(FRAMES, 100) == [frame.name for frame in FRAMES[:10]]
    assert sample(FRAMES, 5) == [FRAMES[i].name for i in (1, 3, 5, 7, 9)]
    assert sample(FRAMES, 3) == [FRAMES[i].name for i in (1, 5, 8)]
    assert sample(FRAMES[10:], 1) == [FRAMES[11].name]


def test_templates_of_a_person_leave_an_empty_ranking(project: Artifacts, values: Params) -> None:
    label.run(replace(values, clip=replace(values.clip, templates=("{}", "a {}"))), project, CPU)
    assert project.load_prompts() == PromptSet(("{}", "a {}"), ())
    assert table(project) == []
    assert load_json(project.metrics_path("label.json"))["sharpest"] is None


# Background ----------------------------------------------------------------------------------------------------------


def test_phrases_that_name_or_mean_a_class_are_left_out_and_said_with_the_reason(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = shipped_params()
    chosen = replace(whole.clip, pretrained=str(ROOT / whole.clip.pretrained))
    classes = {
        name: own for name, own in zip(whole.classes.names, whole.classes.phrases, strict=True) if name != "lawn"
    }
    values = replace(
        whole, background="auto", clip=chosen, classes=params.Classes.from_mapping(classes),
        label=replace(whole.label, threshold=0.0, options={"clip": {"tiles": 1}}),
    )  # fmt: skip
    label.run(values, project, CPU)
    words = project.load_prompts()
    dropped = {one.phrase: one for one in words.dropped}
    assert {one.phrase for one in words.dropped if one.similarity is None} == {"tree", "sky", "cloud", "water", "road"}
    assert dropped["lake"].means == "water"
    assert dropped["lake"].similarity > words.cut
    assert "grass" in words.background  # which only the class lawn means
    assert not {*dropped} & {*words.background}
    output = capsys.readouterr().out.splitlines()
    assert output[0] == (
        "label: background phrases left out, since they name a class: tree (tree); sky, cloud (sky); water (water); "
        "road (cement_road)"
    )
    assert f"lake {dropped['lake'].similarity:.2f}" in output[1]
    assert f"(cosine above {words.cut:.2f})" in output[1]
    assert output[2] == f"label: {len(words.background)} background phrases compete: {', '.join(words.background)}"


def test_phrases_are_compared_once_and_then_known(
    project: Artifacts, values: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(result_store.VARIABLE)
    auto = replace(values, background="auto", clip=replace(values.clip, templates=("{}",)))
    label.run(auto, project, CPU)
    before = project.prompts_json.read_bytes()
    monkeypatch.delattr(clip, "load")  # nothing is left to be asked
    label.run(auto, project, CPU)
    assert project.prompts_json.read_bytes() == before


def test_label_and_cam_ask_with_the_same_words(project: Artifacts, values: Params) -> None:
    values = replace(
        values, background="auto",
        cam=replace(values.cam, method="softmax_gradcam", scales=(1.0,), options={"softmax_gradcam": {}}),
    )  # fmt: skip
    asked: list[tuple[object, ...]] = []
    plain = clip.Clip.classifier

    def remembered(self: clip.Clip, phrases: object, templates: object) -> torch.Tensor:
        asked.append((phrases, tuple(templates)))  # type: ignore[arg-type]
        return plain(self, phrases, templates)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip.Clip, "classifier", remembered)
        label.run(values, project, CPU)
        by_label = asked[-1]
        cam.run(values, project, CPU)
    words = project.load_prompts()
    assert asked[-1] == by_label == ((*values.classes.phrases, *((p,) for p in words.background)), words.templates)
