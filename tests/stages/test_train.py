"""The train stage on frames of coloured stripes, with a network small enough to train in a second."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.packages import LITE0, install_lite0, lite0_state
from tests.segment.networks import stripes
from tests.shared import shipped_content
from tests.stages.tiny_run import ENCODER
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.classes import Classes
from wildseg.core.errors import DataError, ModelError, ParamsError, WildsegError
from wildseg.core.files import load_json
from wildseg.core.tables import load_table
from wildseg.execution import cache_usage, large_entries
from wildseg.execution import params as parameters
from wildseg.execution.params import Params
from wildseg.execution.result_store import ResultStore
from wildseg.execution.runtime import Runtime
from wildseg.methods import segmenter
from wildseg.methods.architectures import pcaa, unet
from wildseg.segment import fit, predict
from wildseg.stages.train import stage as train
from wildseg.tracking import mlflow_run
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
CPU = Runtime(1, "cpu")
SETTINGS = {
    "architecture": "unet",
    "encoder": ENCODER,
    "encoder_weights": None,
    "options": {"unet": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}},
    "loss": "cross_entropy",
    "class_weights": "sqrt_inverse",
    "steps": 8,
    "batch_size": 2,
    "crop": 16,
    "lr": 0.01,
    "precision": "auto",
    "validate_every": 3,
    "checkpoint_every": 3,
}
CLASSES = {"red": "red", "green": "green", "blue": "blue"}


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    return make(tmp_path)


def make(root: Path) -> Artifacts:
    """Write six frames with masks; the last frame of training has no labelled pixel."""
    artifacts = Artifacts(root)
    splits = ("train", "train", "train", "train", "val", "test")
    frames = [Frame(f"drive_{i:06d}", "drive", i, i / 5, split) for i, split in enumerate(splits)]
    artifacts.save_frames(frames)
    for frame in frames:
        image, mask = stripes(frame.index, 20, 27)
        artifacts.save_image(frame.name, image)
        artifacts.save_mask(frame.name, np.full_like(mask, 255) if frame.index == 3 else mask)
        artifacts.save_confidence(frame.name, np.where(np.arange(27) < 20, 1.0, 0.5) * np.ones((20, 1)))
    return artifacts


def content(background: list[str] | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    whole = shipped_content()
    section = {**whole["train"], **SETTINGS, **changes}
    return {**whole, "classes": CLASSES, "background": background or [], "train": section}


def values(background: list[str] | None = None, **changes: Any) -> Params:  # noqa: ANN401
    return parameters.parse(content(background, **changes))


def outputs(artifacts: Artifacts) -> dict[str, bytes]:
    files = [*artifacts.segmenter_folder.iterdir(), *artifacts.metrics.rglob("*.*")]
    return {str(path.relative_to(artifacts.root)): path.read_bytes() for path in files}


def test_it_leaves_a_model_its_numbers_and_its_curve(project: Artifacts, capsys: pytest.CaptureFixture[str]) -> None:
    train.run(values(), project, CPU)
    assert sorted(outputs(project)) == [
        "metrics/train.json",
        "metrics/train/curve.csv",
        "models/segmenter/config.json",
        "models/segmenter/model.safetensors",
    ]
    report = load_json(project.metrics_path("train.json"))
    assert (report["frames_train"], report["frames_val"], report["frames_skipped"]) == (3, 1, 1)
    assert report["steps"] == 8
    assert report["best_step"] in (3, 6, 8)
    assert 0 <= report["val_miou"] <= 1
    weights = load_file(project.segmenter_folder / "model.safetensors")
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learnt = sum(tensor.numel() for name, tensor in weights.items() if not name.endswith(statistics))
    assert report["parameters"] == learnt

    rows = load_table(project.metrics_path("train/curve.csv"), ("step", "loss", "lr", "val_miou"))
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert [int(row["step"]) for row in rows if row["val_miou"]] == [3, 6, 8]
    line = f"train: 3 frames, best val mIoU {report['val_miou']:.3f}, against what is trained on, "
    line += f"at step {report['best_step']} of 8, 1 frames"
    assert capsys.readouterr().out.startswith(line)


def test_the_model_can_be_loaded_and_learnt_the_stripes(project: Artifacts) -> None:
    train.run(values(encoder="resnet18", steps=40, lr=0.02, crop=24), project, CPU)
    state, config = project.load_segmenter()
    assert config["classes"] == ["red", "green", "blue"]
    assert config["architecture"] == "unet"
    predictor = predict.load(unet.build, state, config)
    image, mask = stripes(5, 20, 27)
    assert (next(predictor.predict([image])) == mask).mean() > 0.8


def test_an_architecture_with_terms_of_its_own_leaves_a_curve_of_each(project: Artifacts) -> None:
    options = {"pcaa": {"channels": 8, "bins": [2]}}
    train.run(values(architecture="pcaa", encoder="tu-test_resnet", options=options, steps=3), project, CPU)
    columns = ("step", "loss", "lr", "cross_entropy", "auxiliary", "partial_classes", "val_miou")
    for row in load_table(project.metrics_path("train/curve.csv"), columns):
        parts = [float(row[name]) for name in ("cross_entropy", "auxiliary", "partial_classes")]
        assert float(row["loss"]) == pytest.approx(sum(parts), rel=1e-4)
    state, config = project.load_segmenter()
    predictor = predict.load(pcaa.build, state, config)
    assert next(predictor.predict([stripes(5, 20, 27)[0]])).shape == (20, 27)


def test_a_network_beside_a_frozen_clip_is_trained_saved_without_it_and_loaded_with_it(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("model.safetensors", "wildseg-tiny.json"):
        folder = project.root / "models" / "tiny_clip"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "models" / "tiny_clip" / name, folder)
    clip = {"encoder": "wildseg-tiny", "encoder_weights": "models/tiny_clip/model.safetensors"}
    options = {"san": {"queries": 8, "width": 24, "depth": 3, "heads": 3, "points": 64}}
    params = values(architecture="san", options=options, steps=3, crop=32, **clip)
    train.run(params, project, CPU)
    columns = ("step", "loss", "classes", "masks", "dice", "auxiliary", "val_miou")
    for row in load_table(project.metrics_path("train/curve.csv"), columns):
        parts = [float(row[name]) for name in ("classes", "masks", "dice", "auxiliary")]
        assert float(row["loss"]) == pytest.approx(sum(parts), rel=1e-4)
    state, config = project.load_segmenter()
    assert config["encoder_weights"] == "models/tiny_clip/model.safetensors"
    assert not any("resblocks" in name for name in state)
    digest = bytes(state["clip_digest"].tolist()).hex()
    assert state["meant"].tolist() == [False, True, True, True]
    model = segmenter.load(project.segmenter_folder)  # whatever the working folder is
    image, _ = stripes(5, 20, 27)
    assert model.probabilities(image).shape == (4, 20, 27)
    assert bytes(model.predictor.network.clip.digest.tolist()).hex() == digest
    np.testing.assert_allclose(model.predictor.mean.flatten(), config["mean"], rtol=1e-6)

    first = outputs(project)
    train.run(params, project, CPU)
    assert outputs(project) == first
    monkeypatch.chdir(project.root)
    (project.root / "models" / "tiny_clip" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="expected the weights of the CLIP of this model, models/tiny_clip"):
        segmenter.load(project.segmenter_folder)


def test_the_phrases_of_a_class_are_part_of_what_a_network_beside_clip_is_known_by(
    project: Artifacts, steps: list[int]
) -> None:
    file = str(ROOT / "models" / "tiny_clip" / "model.safetensors")
    options = {"san": {"queries": 4, "width": 12, "depth": 1, "heads": 2, "points": 16}}
    settings = {"architecture": "san", "encoder": "wildseg-tiny", "encoder_weights": file}
    params = values(options=options, steps=1, **settings)
    train.run(params, project, CPU)
    texts = project.load_segmenter()[0]["texts"]
    train.run(params, project, CPU)
    assert steps == [0]
    other = replace(params, classes=Classes({"red": "red", "green": ["green", "lawn"], "blue": "blue"}))
    train.run(other, project, CPU)
    assert steps == [0, 0]
    same = (project.load_segmenter()[0]["texts"] == texts).all(1).tolist()
    assert same == [True, False, True]


def test_two_runs_write_the_same_bytes_and_a_seed_changes_them(project: Artifacts, tmp_path: Path) -> None:
    train.run(values(), project, CPU)
    first = outputs(project)
    torch.rand(5)
    train.run(values(), project, CPU)
    assert outputs(project) == first
    train.run(replace(values(), seed=1), project, CPU)
    assert outputs(project)["models/segmenter/model.safetensors"] != first["models/segmenter/model.safetensors"]


def test_without_background_id_zero_is_not_among_the_answers(project: Artifacts) -> None:
    train.run(values(), project, CPU)
    assert project.load_segmenter()[1]["ids"] == [1, 2, 3]
    train.run(values(background=["wall"]), project, CPU)
    assert project.load_segmenter()[1]["ids"] == [0, 1, 2, 3]


def test_without_validation_frames_the_last_weights_are_kept_and_this_is_said(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    project.save_frames([replace(frame, split="train") for frame in project.load_frames("train")])
    train.run(values(), project, CPU)
    assert "no validation frames: the weights of the last step, 8, are kept" in capsys.readouterr().out
    report = load_json(project.metrics_path("train.json"))
    assert (report["val_miou"], report["best_step"]) == (None, 8)


def test_confidence_guidance_trains_only_where_the_mask_is_sure(project: Artifacts) -> None:
    train.run(values(), project, CPU)
    everywhere = outputs(project)["models/segmenter/model.safetensors"]
    train.run(values(loss="confidence_guided", min_confidence=0.0), project, CPU)
    assert outputs(project)["models/segmenter/model.safetensors"] == everywhere
    train.run(values(loss="confidence_guided", min_confidence=0.9), project, CPU)
    assert outputs(project)["models/segmenter/model.safetensors"] != everywhere
    with pytest.raises(DataError, match=r"of at least train.min_confidence = 1.1 confidence, found none in 4 frames"):
        train.run(values(loss="confidence_guided", min_confidence=1.1), project, CPU)


class _Killed(BaseException):
    pass


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(
    project: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train.run(values(), project, CPU)
    whole = outputs(project)
    again = make(tmp_path / "again")
    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, trainer: Any) -> None:  # noqa: ANN401
        save(self, trainer)
        raise _Killed

    monkeypatch.setattr(Checkpoints, "save", save_and_stop)
    with pytest.raises(_Killed):
        train.run(values(), again, CPU)
    monkeypatch.setattr(Checkpoints, "save", save)
    assert not (again.segmenter_folder / "model.safetensors").exists()
    capsys.readouterr()
    train.run(values(checkpoint_every=5), again, CPU)  # how often it is saved does not matter
    assert "goes on from step 3 of 8" in capsys.readouterr().out
    assert outputs(again) == whole
    assert not list((again.root / ".wildseg" / "train").iterdir())


@pytest.mark.parametrize("change", ["mask", "image", "parameter"])
def test_a_checkpoint_of_other_data_or_parameters_is_not_taken(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    def stop(*_: object) -> None:
        raise _Killed

    save = train._write
    monkeypatch.setattr(train, "_write", stop)
    with pytest.raises(_Killed):
        train.run(values(), project, CPU)
    monkeypatch.setattr(train, "_write", save)
    image, mask = stripes(10, 20, 27)
    if change == "mask":
        project.save_mask("drive_000000", mask)
    if change == "image":
        project.save_image("drive_000000", image)
    capsys.readouterr()
    train.run(values(lr=0.02) if change == "parameter" else values(), project, CPU)
    assert "goes on" not in capsys.readouterr().out


def test_a_killed_process_loses_nothing_but_the_steps_since_its_checkpoint(project: Artifacts, tmp_path: Path) -> None:
    settings = {"steps": 40, "checkpoint_every": 2}
    train.run(values(**settings), project, CPU)
    killed = make(tmp_path / "killed")
    (killed.root / "params.yaml").write_text(yaml.safe_dump(content(**settings), sort_keys=False), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "WILDSEG_WORKERS": "1", "WILDSEG_DEVICE": "cpu"}
    command = [sys.executable, "-c", "from wildseg.cli.main import main; main(['train'])"]
    process = subprocess.Popen(command, cwd=killed.root, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not list(killed.root.glob(".wildseg/train/*/state.safetensors")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (killed.segmenter_folder / "model.safetensors").exists()
    train.run(values(**settings), killed, CPU)
    assert outputs(killed) == outputs(project)


def test_the_curve_is_on_disk_and_in_the_tracker_while_it_trains(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[int, dict[str, float]] = {}

    class Tracker:
        def log(self, step: int, **metrics: float) -> None:
            path = project.metrics_path("train/curve.csv")
            assert step == 1 or len(load_table(path, ("step",))) >= step - 1
            logged[step] = metrics

    @contextmanager
    def training(*_: object) -> Iterator[Tracker]:
        yield Tracker()

    monkeypatch.setattr(mlflow_run, "training", training)
    train.run(values(), project, CPU)
    assert list(logged) == list(range(1, 9))
    assert logged[1].keys() == {"loss", "lr"}
    assert logged[3].keys() == {"loss", "lr", "val_miou"}


def test_encoder_weights_are_found_from_the_projects_folder(project: Artifacts) -> None:
    train.run(values(encoder="resnet18"), project, CPU)
    trained = load_file(project.segmenter_folder / "model.safetensors")
    save_file(trained, project.root / "trained.safetensors")
    # A rate of nearly nothing leaves the weights as they began.
    train.run(values(encoder="resnet18", encoder_weights="trained.safetensors", steps=1, lr=1e-12), project, CPU)
    begun = load_file(project.segmenter_folder / "model.safetensors")
    torch.testing.assert_close(begun["encoder.conv1.weight"], trained["encoder.conv1.weight"])
    assert not torch.allclose(begun["decoder.blocks.0.conv1.0.weight"], trained["decoder.blocks.0.conv1.0.weight"])


@pytest.mark.parametrize(("mean", "std"), [((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), ((0.1, 0.6, 0.3), (0.2, 0.3, 0.4))])
def test_images_are_normalised_as_the_encoders_weights_want_them_in_training_and_ever_after(
    mean: tuple, std: tuple, project: Artifacts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = unet.build(3, "resnet18", None, **SETTINGS["options"]["unet"]).get_submodule("encoder")
    save_file(encoder.state_dict(), project.root / "w.safetensors")
    (project.root / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": mean, "std": std}}))
    used = []
    whole = fit.augmentation
    monkeypatch.setattr(fit, "augmentation", lambda *values: used.append(values[-2:]) or whole(*values))
    train.run(values(encoder="resnet18", encoder_weights="w.safetensors", steps=3), project, CPU)
    state, config = project.load_segmenter()
    assert used == [(mean, std)]
    assert (config["mean"], config["std"]) == (list(mean), list(std))
    grey = np.full((1, 2, 2, 3), 51, np.uint8)
    seen = predict.load(unet.build, state, config).normalised(grey)
    torch.testing.assert_close(seen[0, :, 0, 0], (0.2 - torch.tensor(mean)) / torch.tensor(std))
    line = next(line for line in capsys.readouterr().out.splitlines() if "encoder weights" in line)
    assert line.startswith("train: encoder weights: 60 of 60 tensors from w.safetensors; images normalised by mean ")
    assert line.endswith("(by config.json beside the file)")


def test_a_set_from_a_package_is_trained_and_used_with_its_normalisation(
    project: Artifacts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install_lite0(project.root / "site", monkeypatch)
    used = []
    whole = fit.augmentation
    monkeypatch.setattr(fit, "augmentation", lambda *values: used.append(values[-2:]) or whole(*values))
    train.run(values(encoder="tu-tf_efficientnet_lite0", encoder_weights=LITE0, steps=1, lr=1e-12), project, CPU)
    state, config = project.load_segmenter()
    half = (0.5, 0.5, 0.5)
    assert used == [(half, half)]
    assert (config["mean"], config["std"]) == (list(half), list(half))
    torch.testing.assert_close(state["encoder.model.conv_stem.weight"], lite0_state()["conv_stem.weight"])
    mixed = np.tile(np.array([0, 51, 255], np.uint8), (1, 2, 2, 1))
    seen = predict.load(unet.build, state, config).normalised(mixed)
    torch.testing.assert_close(seen[0, :, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))
    line = next(line for line in capsys.readouterr().out.splitlines() if "encoder weights" in line)
    assert "tensors from efficientnet-lite0; left out: " in line
    assert line.endswith("by mean 0.5 0.5 0.5 and std 0.5 0.5 0.5 (as efficientnet-lite0 was published)")


def test_frames_of_any_size_are_trained_together(project: Artifacts) -> None:
    image, mask = stripes(0, 9, 50)
    project.save_image("drive_000000", image)
    project.save_mask("drive_000000", mask)
    train.run(values(), project, CPU)


# What a person may get wrong ------------------------------------------------------------------------------------


def test_no_labelled_pixel_anywhere_is_told(project: Artifacts) -> None:
    for frame in project.load_frames():
        project.save_mask(frame.name, np.full((20, 27), 255, np.uint8))
    with pytest.raises(DataError, match=r"expected training frames with labelled pixels, found none in 4 frames"):
        train.run(values(), project, CPU)


def test_no_training_frame_is_told(project: Artifacts) -> None:
    project.save_frames([replace(frame, split="test") for frame in project.load_frames()])
    with pytest.raises(DataError, match="found none in 0 frames of the split train"):
        train.run(values(), project, CPU)


def test_masks_of_other_classes_are_told(project: Artifacts) -> None:
    project.save_mask("drive_000001", np.full((20, 27), 4, np.uint8))
    with pytest.raises(DataError, match=r"drive_000001: expected ids 1 to 3 or 255, found \[4\]"):
        train.run(values(), project, CPU)


def test_a_mask_of_another_size_is_told(project: Artifacts) -> None:
    project.save_mask("drive_000001", np.full((27, 20), 1, np.uint8))
    with pytest.raises(DataError, match="drive_000001: expected the size of its frame, 27x20, found 20x27"):
        train.run(values(), project, CPU)


def test_a_missing_mask_is_told(project: Artifacts) -> None:
    (project.masks_folder / "drive_000002.png").unlink()
    with pytest.raises(DataError, match=r"drive_000002.png: expected an image of class ids"):
        train.run(values(), project, CPU)


@pytest.mark.parametrize(
    ("changes", "kind", "line"),
    [
        ({"encoder": "resnet19"}, ModelError, "train.encoder: .*did you mean 'resnet18'"),
        ({"encoder_weights": "imagnet"}, ModelError, "did you mean 'imagenet'"),
        ({"encoder_weights": "none.safetensors"}, DataError, "expected a .safetensors file"),
        ({"architecture": "unett"}, ParamsError, "did you mean 'unet'"),
        ({"options": {"unet": {"encoder_depth": 4}}}, ParamsError, "expected 4 widths"),
        ({"precision": "fp16"}, WildsegError, "fp16 needs a GPU"),
    ],
)
def test_what_does_not_exist_is_one_line_before_anything_is_removed(
    project: Artifacts, changes: dict[str, Any], kind: type[Exception], line: str
) -> None:
    project.segmenter_folder.mkdir(parents=True)
    earlier = project.segmenter_folder / "model.safetensors"
    earlier.write_bytes(b"an earlier model")
    with pytest.raises(kind, match=line):
        train.run(values(**changes), project, CPU)
    assert earlier.read_bytes() == b"an earlier model"


def test_a_full_disk_leaves_no_half_written_model(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train.run(values(), project, CPU)
    assert not list(project.segmenter_folder.iterdir())


# Scribbles and points ------------------------------------------------------------------------------------------------


def weaken(artifacts: Artifacts, kind: str) -> None:
    """Keep of each mask every fourth row, as scribbles, or every fourth pixel of these, as points."""
    for frame in artifacts.load_frames():
        mask = artifacts.load_mask(frame.name)
        few = np.full_like(mask, 255)
        few[2::4, :: 1 if kind == "scribbles" else 4] = mask[2::4, :: 1 if kind == "scribbles" else 4]
        artifacts.save_weak(kind, frame.name, few)
        artifacts.mask_path(frame.name).unlink()  # nobody needs it


@pytest.mark.parametrize("kind", ["scribbles", "points"])
def test_it_learns_from_the_few_pixels_that_scribbles_and_points_mark(kind: str, project: Artifacts) -> None:
    masks = {frame.name: project.load_mask(frame.name) for frame in project.load_frames()}
    weaken(project, kind)
    train.run(values(encoder="resnet18", supervision=kind, steps=40, lr=0.02, crop=24), project, CPU)
    state, config = project.load_segmenter()
    predictor = predict.load(unet.build, state, config)
    images = [project.load_image(name) for name in masks]
    right = [(ids == masks[name])[masks[name] != 255]
             for name, ids in zip(masks, predictor.predict(images), strict=True)]  # fmt: skip
    assert np.concatenate(right).mean() > 0.7  # a third by chance
    assert load_json(project.metrics_path("train.json"))["frames_skipped"] == 1


def test_scribbles_that_mark_everything_are_masks(project: Artifacts) -> None:
    train.run(values(), project, CPU)
    expected = outputs(project)
    for frame in project.load_frames():
        project.save_weak("scribbles", frame.name, project.load_mask(frame.name))
    train.run(values(supervision="scribbles"), project, CPU)
    assert outputs(project) == expected


def test_frames_without_scribbles_are_left_out_where_the_maps_were(project: Artifacts) -> None:
    weaken(project, "scribbles")
    project.weak_path("scribbles", "drive_000001").unlink()
    with pytest.raises(DataError, match=r"scribbles/drive_000001\.png.*run 'dvc repro data/weak/dvc\.yaml'"):
        train.run(values(supervision="scribbles"), project, CPU)
    project.save_quarantine("scribbles", [("drive_000001", "broken")])
    train.run(values(supervision="scribbles"), project, CPU)
    assert load_json(project.metrics_path("train.json"))["frames_train"] == 2


def test_scribbles_have_no_confidence() -> None:
    with pytest.raises(ParamsError, match=r"train\.loss: confidence_guided needs .* which scribbles do not have"):
        values(supervision="scribbles", loss="confidence_guided")


# A finished training is kept -----------------------------------------------------------------------------------------


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The steps that trainers take from now on, with a cache."""
    monkeypatch.setenv("WILDSEG_CACHE", str(tmp_path / "cache"))
    taken: list[int] = []
    step = Trainer._take_step
    monkeypatch.setattr(Trainer, "_take_step", lambda self, *rest: taken.append(self.step) or step(self, *rest))
    return taken


def test_the_same_training_is_done_once_in_whichever_clone(
    project: Artifacts, tmp_path: Path, steps: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    train.run(values(), project, CPU)
    assert steps == list(range(8))
    clone = make(tmp_path / "clone")
    clone.segmenter_folder.mkdir(parents=True)
    (clone.segmenter_folder / "stale").touch()
    capsys.readouterr()
    train.run(values(checkpoint_every=1), clone, CPU)
    assert steps == list(range(8))
    assert outputs(clone) == outputs(project)
    assert re.fullmatch(r"train: 3 frames, best .*, from the cache\n", capsys.readouterr().out)
    cache_usage.show(clone.root)
    assert re.search(r"^train +1 .* 1 from the cache, 0 computed$", capsys.readouterr().out, re.MULTILINE)


def test_new_names_of_classes_are_written_without_training(project: Artifacts, steps: list[int]) -> None:
    train.run(values(), project, CPU)
    renamed = parameters.parse({**content(), "classes": {"rot": "red", "gruen": "green", "blau": "blue"}})
    weights = (project.segmenter_folder / "model.safetensors").read_bytes()
    train.run(renamed, project, CPU)
    assert len(steps) == 8
    assert project.load_segmenter()[1]["classes"] == ["rot", "gruen", "blau"]
    assert (project.segmenter_folder / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("change", ["mask", "image", "parameter", "seed", "off"])
def test_another_training_is_done(
    project: Artifacts, steps: list[int], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.run(values(), project, CPU)
    image, mask = stripes(10, 20, 27)
    if change == "mask":
        project.save_mask("drive_000000", mask)
    if change == "image":
        project.save_image("drive_000000", image)
    if change == "off":
        monkeypatch.setenv("WILDSEG_CACHE", "off")
    changed = values(lr=0.02) if change == "parameter" else replace(values(), seed=int(change == "seed"))
    train.run(changed, project, CPU)
    assert len(steps) == 16


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other record"])
def test_a_damaged_entry_trains_anew_and_is_replaced(
    project: Artifacts, steps: list[int], damage: str, tmp_path: Path
) -> None:
    train.run(values(), project, CPU)
    expected = outputs(project)
    (entry,) = (tmp_path / "cache" / "train").glob("??/*")
    whole = entry.read_bytes()
    if damage == "other record":
        store, key = ResultStore(entry.parents[1]), entry.parent.name + entry.name
        large_entries.put(store, key, {"steps": 8}, {"weights": project.segmenter_weights})
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        entry.write_bytes({"cut": whole[:middle], "flipped": flipped, "empty": b""}[damage])
    train.run(values(), project, CPU)
    assert len(steps) == 16
    assert outputs(project) == expected
    assert entry.read_bytes() == whole


def test_the_curve_of_a_kept_training_is_sent_as_a_training_sends_it(
    project: Artifacts, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[int, dict[str, float]]] = []

    class Tracker:
        def log(self, step: int, **metrics: float) -> None:
            logged.append((step, metrics))

    @contextmanager
    def training(*_: object) -> Iterator[Tracker]:
        yield Tracker()

    monkeypatch.setattr(mlflow_run, "training", training)
    train.run(values(), project, CPU)
    train.run(values(), project, CPU)
    assert len(steps) == 8
    assert logged[8:] == logged[:8]


def test_a_training_whose_inputs_changed_meanwhile_is_not_kept(
    project: Artifacts, steps: list[int], tmp_path: Path
) -> None:
    train.run(values(), project, CPU, accept=lambda: project.save_mask("drive_000000", stripes(10, 20, 27)[1]))
    assert not list((tmp_path / "cache" / "train").glob("??/*"))
