"""Stage 5 with an open-vocabulary architecture: its texts, its files, a kill, and classes that are held out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.encoders.models import save
from tests.segment.networks import stripes
from tests.segment.san.networks import OPTIONS, small
from tests.segment.san.test_official import official
from tests.stages.test_train import CPU, ROOT, content, make, outputs
from wildseg.artifacts.project import Artifacts
from wildseg.core.classes import Classes
from wildseg.core.errors import ParamsError
from wildseg.encoders import clip
from wildseg.execution import params as parameters
from wildseg.execution.params import Params
from wildseg.methods import segmenter
from wildseg.methods.architectures import san
from wildseg.segment import fit
from wildseg.segment.san.frozen import TEMPLATES
from wildseg.stages.train import stage as train
from wildseg.training.checkpoint import Checkpoints

WEIGHTS = "models/tiny_clip/model.safetensors"
SIZES = {"queries": 4, "width": 12, "depth": 1, "heads": 2, "points": 32}
FIXED = {"texts", "meant", "clip_digest"}


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    return with_clip(make(tmp_path))


def with_clip(artifacts: Artifacts) -> Artifacts:
    for name in ("model.safetensors", "wildseg-tiny.json"):
        (artifacts.root / "models" / "tiny_clip").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "models" / "tiny_clip" / name, artifacts.root / "models" / "tiny_clip")
    return artifacts


def values(options: dict[str, Any] | None = None, templates: object = None, **changes: Any) -> Params:  # noqa: ANN401
    chosen = {"architecture": "san", "encoder": "wildseg-tiny", "encoder_weights": WEIGHTS, "steps": 2, **changes}
    whole = content(options={"san": {**SIZES, **(options or {})}}, **chosen)
    if templates is not None:
        whole["clip"] = {**whole["clip"], "templates": templates}
    return parameters.parse(whole)


def embedded(phrases: Any, templates: Any) -> torch.Tensor:  # noqa: ANN401
    return clip.load("wildseg-tiny", str(ROOT / WEIGHTS)).classifier(phrases, templates)


# Texts, files, optimiser ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "of_clip", "expected"),
    [
        (None, ["a photo of {}.", "{} outdoors"], ["a photo of {}.", "{} outdoors"]),
        (["one {}"], ["a photo of {}."], ["one {}"]),
        (None, "sharpest", TEMPLATES),
        ("published", ["a photo of {}."], TEMPLATES),
    ],
)
def test_classes_are_embedded_in_the_templates_of_clip_unless_the_architecture_has_its_own(
    own: object, of_clip: object, expected: object, project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "trainer", _Stopped.take)
    params = values({} if own is None else {"templates": own}, of_clip)
    with pytest.raises(_Stopped) as caught:
        train.run(params, project, CPU)
    (build, config) = caught.value.args
    network = build(3, config.train.encoder, config.train.encoder_weights, **config.options)
    torch.testing.assert_close(network.texts, embedded(params.classes.phrases, expected))
    # A trained model is given words in the same sentences, so its config has them.
    recorded = fit.description(config, params.classes.names, san.normalisation("wildseg-tiny", str(ROOT / WEIGHTS)))
    assert recorded["options"].get("templates") in (expected, own)


class _Stopped(BaseException):
    @classmethod
    def take(cls, config: object, build: object, *_: object) -> None:
        raise cls(build, config)


def test_a_checkpoint_is_found_from_the_projects_folder(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = small(project.root)
    save_file({name: value.contiguous() for name, value in official(begun).items()}, project.root / "san.safetensors")
    name, file = save(project.root, "tiny")
    monkeypatch.chdir(ROOT)
    # A rate of nearly nothing leaves the weights as they began.
    options = {**OPTIONS, "checkpoint": "san.safetensors"}
    train.run(values(options, encoder=name, encoder_weights=file, steps=1, lr=1e-12), project, CPU)
    state, config = project.load_segmenter()
    torch.testing.assert_close(state["encoder.queries"], begun.state_dict()["encoder.queries"])
    assert config["options"]["checkpoint"] == "san.safetensors"


def test_the_optimiser_is_the_published_one(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def keep(objective: Any, optim: Any, context: Any) -> None:  # noqa: ANN401
        built.append((objective, optim))
        raise _Stopped(context)

    monkeypatch.setattr(fit, "Trainer", keep)
    with pytest.raises(_Stopped):
        train.run(values(steps=30000, lr=2.5e-4, weight_decay=1e-4), project, CPU)
    ((objective, optim),) = built
    assert (optim.clip, optim.weight_decay) == (0.01, 1e-4)
    assert optim.learning_rate(0) == 2.5e-4
    assert optim.learning_rate(15000) == pytest.approx(1.339717e-4)  # worked out by hand: 0.5 ** 0.9 of it
    names = {id(value): name for name, value in objective.network.named_parameters()}
    decaying, others = ({names[id(value)] for value in group.params} for group in objective.param_groups())
    assert [group.weight_decay for group in objective.param_groups()] == [None, 0]
    positions = {"encoder.queries", "encoder.query_positions", "encoder.positions", "clip_positions"}
    assert positions <= others
    assert {name for name in others - positions if not name.endswith(("bias", "norm.weight"))} == {
        f"encoder.blocks.0.norm{number}.weight" for number in (1, 2)
    }
    assert decaying | others == set(names.values())
    assert "learned" in decaying


def test_other_architectures_keep_their_optimiser(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(fit, "Trainer", lambda *parts: built.append(parts) or _stop())
    with pytest.raises(_Stopped):
        train.run(parameters.parse(content()), project, CPU)
    assert built[0][1] == fit.OptimConfig(8, 0.01, weight_decay=0.0001)


def _stop() -> None:
    raise _Stopped


# A kill --------------------------------------------------------------------------------------------------------------


def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(
    project: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = values(steps=4, checkpoint_every=3, validate_every=2)
    train.run(params, project, CPU)
    again = with_clip(make(tmp_path / "again"))
    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, trainer: Any) -> None:  # noqa: ANN401
        save(self, trainer)
        raise _Stopped

    monkeypatch.setattr(Checkpoints, "save", save_and_stop)
    with pytest.raises(_Stopped):
        train.run(params, again, CPU)
    monkeypatch.setattr(Checkpoints, "save", save)
    train.run(params, again, CPU)
    assert "goes on from step 3 of 4" in capsys.readouterr().out
    assert (
        outputs(again)["models/segmenter/model.safetensors"] == outputs(project)["models/segmenter/model.safetensors"]
    )
    assert outputs(again) == outputs(project)


# Classes that are held out -------------------------------------------------------------------------------------------


def test_a_class_that_is_held_out_is_trained_as_if_it_were_not_there_and_predicted_all_the_same(
    project: Artifacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = values(hold_out=["green"])
    train.run(params, project, CPU)
    assert "train: green held out: their pixels are ignored" in capsys.readouterr().out
    state, config = project.load_segmenter()
    assert (config["ids"], config["held_out"]) == ([1, 2, 3], ["green"])
    assert state["meant"].tolist() == [False, True, True, True]
    torch.testing.assert_close(state["texts"], embedded(params.classes.phrases, params.clip.templates))
    assert (segmenter.load(project.segmenter_folder).probabilities(stripes(5, 20, 27)[0])[2] > 0).all()

    # Its pixels: masks in which they are ignored lead to the same weights.
    ignored = with_clip(make(tmp_path / "ignored"))
    for frame in ignored.load_frames():
        mask = ignored.load_mask(frame.name)
        assert (mask == 2).any() or (mask == 255).all()
        ignored.save_mask(frame.name, np.where(mask == 2, 255, mask).astype(np.uint8))
    train.run(params, ignored, CPU)
    assert outputs(ignored) == outputs(project)

    # Its text: another one changes no weight.
    train.run(replace(params, classes=Classes({"red": "red", "green": "a lawn", "blue": "blue"})), project, CPU)
    other = project.load_segmenter()[0]
    assert all(torch.equal(other[name], value) for name, value in state.items() if name not in FIXED)
    assert (other["texts"] == state["texts"]).all(1).tolist() == [True, False, True]

    # And none at all is another training.
    train.run(values(), project, CPU)
    known, config = project.load_segmenter()
    assert "held_out" not in config
    assert not torch.equal(known["encoder.queries"], state["encoder.queries"])


def test_a_class_that_is_held_out_is_in_no_mask_of_a_later_round(project: Artifacts) -> None:
    # Labels name it in every frame, and the model predicts it: still it is not to be learnt.
    frames = [frame.name for frame in project.load_frames()]
    project.save_labels(frames, ["red", "green", "blue"], np.ones((len(frames), 3), bool))
    train.run(values(hold_out=["green"], rounds=2, round_confidence=0.1), project, CPU)
    masks = [project.load_round_mask(2, path.stem) for path in (project.rounds_folder / "2").glob("*.png")]
    found = set(np.unique(np.concatenate([mask.ravel() for mask in masks])).tolist())
    assert found & {1, 3}
    assert found <= {1, 3, 255}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"hold_out": ["gren"]}, r"^train.hold_out: there is no class 'gren'; did you mean 'green'\?$"),
        ({"hold_out": ["red", "red"]}, r"^train.hold_out: expected each class once, found \['red', 'red'\]$"),
        ({"hold_out": ["red", "green", "blue"]}, r"^train.hold_out: expected some of the 3 classes, found all"),
        ({"hold_out": "red"}, r"^train.hold_out: expected a list, found 'red'$"),
        (
            {"hold_out": ["red"], "architecture": "unet"},
            r"^train.hold_out: expected an open-vocabulary architecture, san",
        ),
    ],
)
def test_what_cannot_be_held_out_is_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        values(**changes)
