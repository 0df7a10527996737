"""Networks that later stages need are looked at before the first one: whether they exist, can be had, and fit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import timm
import yaml
from click.testing import CliRunner
from safetensors.torch import save, save_file

from tests.encoders.models import save as save_clip
from tests.hub import Hub, nobody, point_to
from tests.packages import LITE0, install_lite0
from tests.programs import SOURCE
from tests.shared import shipped_content, shipped_params
from wildseg.cli.main import main
from wildseg.core.errors import WildsegError
from wildseg.encoders import downloads
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.stages import preflight

ROOT = Path(__file__).parents[2]


def values(clip: dict[str, Any] | None = None, **train: Any) -> Params:  # noqa: ANN401
    content = shipped_content()
    content["clip"] |= clip or {}
    content["train"] |= train
    return params.parse(content)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is checked, by the same process."""
    done: list[str] = []

    def aside(name: str, params: Params, root: Path) -> dict[str, Any]:
        done.append(name)
        downloads.USED.clear()
        return preflight.CHECKS[name](params, root)

    monkeypatch.setattr(preflight, "_check_in_process", aside)
    return done


@pytest.mark.parametrize("stage", preflight.STAGES)
def test_what_the_package_brings_needs_no_asking(stage: str, checked: list[str], tmp_path: Path) -> None:
    preflight.run(shipped_params(), tmp_path, stage)
    assert checked == []
    assert list(tmp_path.iterdir()) == []


def command(stage: str, folder: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, instead: str) -> str:
    """Run a stage on an empty project with one line of params.yaml changed; return what it prints."""
    text = (ROOT / "params.yaml").read_text()
    assert wanted in text
    (folder / "params.yaml").write_text(text.replace(wanted, instead))
    monkeypatch.chdir(folder)
    answer = CliRunner().invoke(main, [stage])
    assert answer.exit_code == 1
    said = [line for line in answer.output.splitlines() if not line.startswith("preflight: checking once that ")]
    assert len(said) == 1
    assert not (folder / "data").exists()
    return said[0]


@pytest.mark.usefixtures("forked_workers")
def test_an_encoder_that_does_not_exist_is_told_before_a_frame_is_extracted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = command("extract", tmp_path, monkeypatch, "encoder: tu-regnetx_002", "encoder: tu-regnetx_003")
    assert said.startswith("wildseg: error: train.encoder: expected an encoder ")
    assert "found 'tu-regnetx_003'; did you mean 'tu-regnetx_0" in said


@pytest.mark.usefixtures("forked_workers")
def test_a_hub_that_cannot_be_reached_is_told_before_a_frame_is_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = nobody()
    point_to(address, tmp_path / "hf", monkeypatch)
    weights = "encoder: tu-regnetx_002\n  encoder_weights:"
    said = command("label", tmp_path, monkeypatch, weights, f"{weights} imagenet")
    assert f"the weights 'imagenet' of tu-regnetx_002 could not be fetched from {address}/timm/regnetx_002" in said
    assert ": connection refused; " in said


SAN = {
    "architecture": "san",
    "encoder": "wildseg-tiny",
    "encoder_weights": str(ROOT / "models/tiny_clip/model.safetensors"),
    "options": {"san": {"checkpoint": "none.pth"}},
}
FIVE = {"unet": {"encoder_depth": 5, "decoder_channels": [32, 16, 16, 8, 8]}}


@pytest.mark.parametrize(
    ("stage", "clip", "train", "line"),
    [
        ("extract", {}, {"encoder_weights": "imagnet"}, "found 'imagnet'; did you mean 'imagenet'"),
        ("crf", {}, {"encoder_weights": "none.safetensors"}, "none.safetensors: expected a .safetensors file"),
        ("crf", {}, SAN, "train.options.san.checkpoint: .*none.pth: expected weights as safetensors or plain torch"),
        ("cam", {}, {"encoder": "tu-efficientformer_l1", "options": FIVE}, "for images of any size"),
        (
            "label",
            {},
            {"options": {"unet": {"encoder_depth": 3, "decoder_channels": [8] * 4}}},
            "expected 3 widths, one per level",
        ),
        ("extract", {"model": "ViT-B-17", "pretrained": "openai"}, {}, "found 'ViT-B-17'; did you mean 'ViT-B-1"),
        ("label", {"model": "ViT-B-16", "pretrained": "laion2b"}, {}, "found 'laion2b'; did you mean 'laion"),
        ("cam", {"model": "ViT-B-16", "pretrained": "none.pt"}, {}, "expected a file of weights, found none at"),
    ],
)
def test_each_stage_looks_at_what_those_after_it_need(
    stage: str, clip: dict, train: dict, line: str, checked: list[str], tmp_path: Path
) -> None:
    with pytest.raises(WildsegError, match=line):
        preflight.run(values(clip, **train), tmp_path, stage)
    assert checked == ["clip" if clip else "encoder"]


def test_after_the_maps_no_image_text_model_is_needed(checked: list[str], tmp_path: Path) -> None:
    preflight.run(values({"model": "ViT-B-17", "pretrained": "openai"}), tmp_path, "crf")
    assert checked == []


def test_weights_that_do_not_fit_are_told(checked: list[str], tmp_path: Path) -> None:
    save_file(timm.create_model("regnetx_004").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WildsegError, match=r"w\.safetensors does not fit tu-regnetx_002: "):
        preflight.run(values(encoder_weights="w.safetensors"), tmp_path, "extract")
    assert not (tmp_path / ".wildseg").exists()


def test_what_went_well_is_remembered_until_a_file_changes(checked: list[str], tmp_path: Path) -> None:
    save_file(timm.create_model("regnetx_002").state_dict(), tmp_path / "w.safetensors")
    wish = values(encoder_weights="w.safetensors")
    for stage in ("extract", "label", "cam", "crf"):
        preflight.run(wish, tmp_path, stage)
    assert checked == ["encoder"]
    os.utime(tmp_path / "w.safetensors", (0, 0))
    preflight.run(wish, tmp_path, "crf")
    (tmp_path / "config.json").write_text('{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}')
    preflight.run(wish, tmp_path, "crf")
    preflight.run(values(encoder_weights="w.safetensors", options=FIVE), tmp_path, "crf")
    assert checked == ["encoder"] * 4


def test_what_was_fetched_is_fetched_before_and_looked_for_again_once_it_is_gone(
    hub: Hub, checked: list[str], tmp_path: Path
) -> None:
    weights = save(timm.create_model("regnetx_002").state_dict())
    hub.repositories["timm/regnetx_002.pycls_in1k"] = {"model.safetensors": weights}
    wish = values(encoder_weights="imagenet")
    for _ in range(2):
        preflight.run(wish, tmp_path, "extract")
    assert checked == ["encoder"]
    (file,) = downloads.USED
    assert file.read_bytes() == weights
    file.unlink()
    preflight.run(wish, tmp_path, "extract")
    assert checked == ["encoder"] * 2


def test_a_set_from_a_package_is_checked_before_and_again_once_it_is_gone(
    checked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = values(encoder="tu-tf_efficientnet_lite0", encoder_weights=LITE0)
    file = install_lite0(tmp_path / "site", monkeypatch)
    for _ in range(2):
        preflight.run(wish, tmp_path, "extract")
    assert checked == ["encoder"]
    file.unlink()
    with pytest.raises(WildsegError, match=r"train\.encoder_weights: .*expected the weights efficientnet-lite0"):
        preflight.run(wish, tmp_path, "cam")
    assert checked == ["encoder"] * 2


def test_a_local_image_text_model_is_loaded_once_and_its_config_counts(checked: list[str], tmp_path: Path) -> None:
    model, weights = save_clip(tmp_path, "vit")
    wish = values({"model": model, "pretrained": weights})
    for _ in range(2):
        preflight.run(wish, tmp_path, "extract")
    assert checked == ["clip"]
    (tmp_path / "open_clip_config.json").write_text("[]")
    with pytest.raises(WildsegError, match="expected an open_clip config, found list"):
        preflight.run(wish, tmp_path, "label")


def test_a_language_model_is_fetched_before_frames_are_extracted(
    checked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(nobody(), tmp_path / "hf", monkeypatch)
    wish = values()
    language = replace(wish.label.language, model="makers/talk")
    wish = replace(wish, label=replace(wish.label, method="vlm_direct", language=language))
    with pytest.raises(WildsegError, match="label.language.model: 'makers/talk' is no folder here, and could not be"):
        preflight.run(wish, tmp_path, "extract")


def test_a_memory_that_is_broken_is_none(checked: list[str], tmp_path: Path) -> None:
    (tmp_path / ".wildseg").mkdir()
    wish = values(options=FIVE)
    for content in ("[", "[]", '{"a": 1}', "[" * 20_000):
        (tmp_path / ".wildseg" / "preflight.json").write_text(content)
        preflight.run(wish, tmp_path, "crf")
    assert checked == ["encoder"] * 4


# The network of a CAM method ----------------------------------------------------------------------------------------


def trained(method: str, refine: str | list[str] = "none", **options: Any) -> Params:  # noqa: ANN401
    """Parameters of a CAM method that trains a network, small where `options` do not say otherwise."""
    content = shipped_content()
    known = {"encoder": "tu-test_resnet", "stride": 16, **({"map": "cam"} if method == "classifier" else {}), **options}
    content["cam"] |= {"method": method, "refine": refine}
    content["cam"]["options"][method] = known
    return params.parse(content)


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        (("classifier", {"encoder": "resnet19"}), r"^cam\.options\.classifier\.encoder: .* did you mean 'resnet18'"),
        (("classifier", {"map": "chefer"}), r"^cam\.options\.classifier\.map: expected a CAM method for CNNs; chefer "),
        (("classifier", {"encoder": "resnet38", "stride": 8, "encoder_weights": "a.pth"}), r"a\.pth"),
        (("clims", {"encoder_weights": "none.safetensors"}), r"none\.safetensors: expected a \.safetensors file"),
        (("clims", {"checkpoint": "clims.pth"}), r"^cam\.options\.clims\.checkpoint: .*clims\.pth"),
        (("l2g", {"saliency": "data/saliency"}), r"^cam\.options\.l2g\.saliency: expected a folder of saliency maps"),
        (("l2g", {"checkpoint": "l2g.safetensors"}), r"^cam\.options\.l2g\.checkpoint: .*l2g\.safetensors"),
        (("ccam", {"checkpoint": "pcam.pth"}), r"^cam\.options\.ccam\.checkpoint: .*pcam\.pth"),
        (("ccam", {"crop": 100}), r"^cam\.options\.ccam\.crop: expected a multiple of the stride, 16, found 100"),
    ],
)
@pytest.mark.parametrize("stage", ["extract", "label"])
def test_what_a_map_network_is_made_from_is_checked_before(
    stage: str, wish: tuple[str, dict[str, Any]], line: str, checked: list[str], tmp_path: Path
) -> None:
    method, options = wish
    with pytest.raises(WildsegError, match=line):
        preflight.run(trained(method, **options), tmp_path, stage)
    assert checked == ["map network"]


def test_a_refinement_that_needs_the_image_text_model_is_told_before(checked: list[str], tmp_path: Path) -> None:
    line = r"^cam\.refine: expected none or pamr or propagate, because l2g reads a network of its own; lposs needs the "
    with pytest.raises(WildsegError, match=f"{line}features of the image-text model$"):
        preflight.run(trained("l2g", refine=["lposs", "pamr"]), tmp_path, "extract")
    preflight.run(trained("l2g", refine=["propagate", "pamr"]), tmp_path, "extract")


def test_a_map_network_that_fits_is_remembered_until_a_file_it_names_changes(
    checked: list[str], tmp_path: Path
) -> None:
    (tmp_path / "sal").mkdir()
    (tmp_path / "sal" / "a.png").touch()
    wish = trained("l2g", saliency="sal")
    for stage in preflight.STAGES:
        preflight.run(wish, tmp_path, stage)
    assert checked == ["map network"]
    os.utime(tmp_path / "sal", (0, 0))
    preflight.run(wish, tmp_path, "label")
    assert checked == ["map network"] * 2
    (tmp_path / "sal" / "a.png").unlink()
    with pytest.raises(WildsegError, match="expected a file <frame>.png for each frame with saliency"):
        preflight.run(wish, tmp_path, "extract")
    preflight.run(wish, tmp_path, "crf")  # the maps are there by then


@pytest.mark.usefixtures("forked_workers")
def test_a_map_network_that_does_not_exist_is_told_before_a_frame_is_extracted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "params.yaml").read_text()
    lines = text[text.index("  method: gradcam\n") : text.index("  refine: propagate\n")] + "  refine: propagate\n"
    said = command("extract", tmp_path, monkeypatch, lines, "  method: l2g\n  refine: caa\n")
    assert said.startswith(
        "wildseg: error: cam.refine: expected none or pamr or propagate, because l2g reads a network of its own"
    )


@pytest.mark.parametrize("begun", [False, True], ids=["as it starts", "at work"])
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGKILL, -9, ""),
        (signal.SIGTERM, 143, "wildseg: stopped by SIGTERM; run the same again to go on\n"),
        (signal.SIGINT, 130, "wildseg: stopped by Ctrl-C; run the same again to go on\n"),
    ],
)
def test_it_ends_with_the_stage_and_says_no_more(
    number: signal.Signals, code: int, said: str, begun: bool, tmp_path: Path
) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("encoder: tu-regnetx_002", "encoder: tu-regnetx_004"))
    process = subprocess.Popen(
        [sys.executable, "-m", "wildseg.cli", "extract"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    main_process, begins = psutil.Process(process.pid), time.monotonic() + 60
    while not (started := [one for one in main_process.children() if "spawn_main" in " ".join(one.cmdline())]):
        assert time.monotonic() < begins
        time.sleep(0.01)
    while begun and not any("torch" in mapped.path for mapped in started[0].memory_maps()):
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does it
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert psutil.wait_procs(started, timeout=5)[1] == []
    assert process.returncode == code
    output = "".join(line for line in output.splitlines(True) if not line.startswith("preflight: "))
    if number == signal.SIGKILL and not begun and output:
        # Killed between the start of its child and the last byte of what that is told; Python itself says so.
        assert output.endswith("EOFError: Ran out of input\n")
    else:
        assert output == said


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize(
    ("stage", "clip", "train", "what"),
    [
        ("crf", {}, {"encoder": "tu-regnetx_003"}, "train.encoder tu-regnetx_003"),
        ("label", {"model": "ViT-B-17", "pretrained": "openai"}, {}, "clip.model ViT-B-17 with clip.pretrained openai"),
        (
            "crf",
            {},
            {"encoder_weights": "a.safetensors"},
            "train.encoder tu-regnetx_002 with the weights a.safetensors",
        ),
    ],
)
def test_what_takes_its_time_is_said_in_a_line(
    stage: str, clip: dict, train: dict, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(preflight, "SECONDS", 0.0)
    content = shipped_content()
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump(content | {"clip": content["clip"] | clip, "train": content["train"] | train})
    )
    with pytest.raises(WildsegError):
        preflight.run(values(clip, **train), tmp_path, stage)
    assert capsys.readouterr().err == f"preflight: checking once that {what} is available and fits\n"
