"""What images are normalised by: mean and standard deviation that an encoder's weights were published with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wildseg.core.errors import DataError, ModelError
from wildseg.encoders.cnn import normalisation

HALF = (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406)
OPENAI = (0.48145466, 0.4578275, 0.40821073)
LITE = "tu-tf_efficientnet_lite0"
QUARTER = [0.25, 0.25, 0.25]
SAID = {"mean": QUARTER, "std": QUARTER}


def write(folder: Path, **metadata: str) -> str:
    save_file({"x": torch.zeros(1)}, folder / "w.safetensors", metadata or None)
    return str(folder / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "weights", "mean"),
    [
        ("tu-regnetx_002", None, IMAGENET),
        (LITE, None, IMAGENET),
        (LITE, "imagenet", HALF),
        ("tu-convnext_base", "clip_laion2b_augreg_ft_in12k_in1k", OPENAI),
        ("tu-convnext_base.clip_laion2b", "imagenet", OPENAI),
        ("tu-convnext_base", "fb_in22k", IMAGENET),
        ("tu-mobilevit_xxs", "cvnets_in1k", (0.0, 0.0, 0.0)),
    ],
)
def test_published_weights_say_how_images_are_normalised(name: str, weights: str | None, mean: tuple) -> None:
    assert normalisation.of(name, weights).mean == mean


@pytest.mark.parametrize(
    ("name", "mean", "source"),
    [
        (
            LITE,
            HALF,
            "assumed: timm's for tf_efficientnet_lite0; declare mean and std in a config.json beside the file",
        ),
        ("resnet18", IMAGENET, "assumed: timm's for resnet18; "),
        ("mit_b0", IMAGENET, "assumed: ImageNet's; "),
        ("tu-convnext_base", IMAGENET, "whose other sets have mean 0.4815 0.4578 0.4082; "),
        ("tu-convnext_base.clip_laion2b", OPENAI, "whose other sets have mean 0.485 0.456 0.406; "),
    ],
)
def test_of_a_file_alone_it_is_told_what_is_assumed(name: str, mean: tuple, source: str, tmp_path: Path) -> None:
    found = normalisation.of(name, write(tmp_path))
    assert found.mean == mean
    assert source in found.source
    assert str(found).startswith("images normalised by mean ")


@pytest.mark.parametrize(
    ("beside", "content", "name", "mean", "source"),
    [
        ("config.json", {"architecture": LITE[3:], "pretrained_cfg": SAID}, LITE, QUARTER, "by config.json beside"),
        ("config.json", {"encoder": LITE, "architecture": "unet", **SAID}, LITE, QUARTER, "by config.json beside"),
        ("w.json", SAID, "mit_b0", QUARTER, "by w.json beside the file"),
        ("preprocessor_config.json", {"image_mean": QUARTER, "image_std": QUARTER}, "mit_b0", QUARTER, "by preproc"),
        ("config.json", {"architecture": "resnet50", **SAID}, LITE, HALF, "config.json beside it is of resnet50; "),
        ("config.json", {"num_classes": 1000}, LITE, HALF, "assumed: timm's for tf_efficientnet_lite0; "),
    ],
)
def test_what_lies_beside_a_file_wins_if_it_is_of_this_network(
    beside: str, content: dict, name: str, mean: tuple, source: str, tmp_path: Path
) -> None:
    (tmp_path / beside).write_text(json.dumps(content))
    found = normalisation.of(name, write(tmp_path))
    assert found.mean == tuple(mean)
    assert source in found.source


def test_a_files_own_metadata_wins(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SAID))
    own = write(tmp_path, mean="[0.1, 0.2, 0.3]", std="[0.5, 0.5, 0.5]")
    assert normalisation.of(LITE, own).mean == (0.1, 0.2, 0.3)
    timms = write(tmp_path, pretrained_cfg=json.dumps({"mean": HALF, "std": HALF}))
    assert normalisation.of("mit_b0", timms).mean == HALF


@pytest.mark.parametrize(
    "said",
    [
        {"mean": 0.5, "std": QUARTER},
        {"mean": QUARTER},
        {"mean": QUARTER, "std": [1, 1, 0]},
        {"mean": ["a", 1, 1], "std": QUARTER},
        {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]},  # of 0 to 255, which nothing says
        {"mean": [0.5, 0.5, -0.5], "std": QUARTER},
    ],
)
def test_what_cannot_be_is_refused(said: dict, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"config\.json: expected a (mean|std)"):
        normalisation.of(LITE, write(tmp_path))


@pytest.mark.parametrize("given", ["big", [0, 1, 2], [0], 255, [0, 2], {"a": 1}, [0, "1"]])
def test_a_range_that_images_cannot_have_is_refused(given: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SAID, "input_range": given}))
    with pytest.raises(ModelError, match=r"config\.json: expected an input_range of \[0, 1\] or \[0, 255\], found"):
        normalisation.of(LITE, write(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_config_may_have_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SAID), encoding=encoding)
    assert normalisation.of(LITE, write(tmp_path)).mean == tuple(QUARTER)


def test_a_config_that_is_no_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json: expected the config of the weights beside it"):
        normalisation.of(LITE, write(tmp_path))
