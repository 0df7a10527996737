"""Models by name, tag and local file, and the mistakes that are made with them."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip import factory
from safetensors.torch import load_file, save_file

from tests.encoders.models import CONFIGS, noise, save
from wildseg.encoders import clip
from wildseg.errors import ModelError


def test_a_local_file_with_its_config_beside_it_is_loaded(tmp_path: Path) -> None:
    name, weights = save(tmp_path, "tiny")
    model = clip.load(name, weights)
    assert model.size == (48, 64)
    assert model.vit.native_grid == (6, 8)
    state = load_file(weights)
    assert all(torch.equal(value, state[key]) for key, value in model.network.state_dict().items())


def test_a_relative_path_is_looked_up_in_the_project_folder(tmp_path: Path) -> None:
    name, weights = save(tmp_path, "tiny")
    assert clip.load(name, Path(weights).name, root=tmp_path).name == name


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    model = clip.load(*save(tmp_path, "tiny", half=True))
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert torch.isfinite(model.image_features(model.pixels([noise((48, 64))]))).all()


def test_a_small_vocabulary_gets_a_tokenizer_cut_to_it(tmp_path: Path) -> None:
    model = clip.load(*save(tmp_path, "tiny"))
    assert int(model.tokenizer(["a photo of a robot"]).max()) == 599


@pytest.mark.parametrize("suffix", [".pt", ".bin"])
def test_torch_files_are_read_as_tensors_only(suffix: str, tmp_path: Path) -> None:
    name, weights = save(tmp_path, "tiny")
    torch.save({"state_dict": load_file(weights)}, tmp_path / f"weights{suffix}")
    assert clip.load(name, str(tmp_path / f"weights{suffix}")).name == name


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    name, _ = save(tmp_path, "tiny")
    torch.save({"state_dict": Path("anything")}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match="expected weights as safetensors or plain torch tensors in evil.pt"):
        clip.load(name, str(tmp_path / "evil.pt"))


def test_an_unknown_model_is_told_its_nearest() -> None:
    with pytest.raises(ModelError, match=r"found 'ViT-B16'; did you mean 'ViT-B-16'\?"):
        clip.load("ViT-B16", "openai")


def test_an_unknown_tag_is_told_the_tags_that_exist() -> None:
    with pytest.raises(ModelError, match=r"laion2b_s34b_b88k.*found 'laion2b_s34b'; did you mean 'laion2b_s34b_b88k'"):
        clip.load("ViT-B-16", "laion2b_s34b")


def test_a_model_without_published_weights_needs_a_file(tmp_path: Path) -> None:
    save(tmp_path, "vit")
    with pytest.raises(ModelError, match="open_clip has no weights for it"):
        clip.load(f"test-vit-{tmp_path.name}", "openai")


@pytest.mark.parametrize("path", ["models/none.safetensors", "none.pt", "models/none"])
def test_a_missing_file_is_told(path: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"expected a file of weights, found none at '{path}'"):
        clip.load("ViT-B-16", path, root=tmp_path)


def test_weights_of_another_shape_are_told_by_name_and_shape(tmp_path: Path) -> None:
    name, _ = save(tmp_path, "tiny")
    wide = json.loads(json.dumps(CONFIGS["tiny"]))
    wide["embed_dim"] = 24
    (tmp_path / f"{name}-wide.json").write_text(json.dumps(wide))
    with pytest.raises(ModelError, match=r"do not fit .*-wide: \S+ is \(.*16.*\) instead of \(.*24.*\)"):
        clip.load(f"{name}-wide", str(tmp_path / f"{name}.safetensors"))


def test_missing_and_surplus_weights_are_counted_and_named(tmp_path: Path) -> None:
    name, weights = save(tmp_path, "tiny")
    state = load_file(weights)
    del state["visual.proj"]
    save_file({**state, "visual.extra": torch.zeros(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match=r"1 missing, such as visual.proj; 1 not asked for, such as visual.extra"):
        clip.load(name, str(tmp_path / "odd.safetensors"))


def test_a_broken_file_is_told_in_one_line(tmp_path: Path) -> None:
    name, _ = save(tmp_path, "tiny")
    (tmp_path / "broken.safetensors").write_bytes(b"\x00\x01not weights")
    with pytest.raises(ModelError, match=r"in broken.safetensors, found") as caught:
        clip.load(name, str(tmp_path / "broken.safetensors"))
    assert "\n" not in str(caught.value)


def test_a_config_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text('{"embed_dim": 4}')
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="'vision_cfg' is missing"):
        clip.load("odd", str(tmp_path / "w.safetensors"))


def test_a_config_that_open_clip_cannot_build_is_told(tmp_path: Path) -> None:
    content = {**CONFIGS["tiny"], "no_such_key": 1}
    (tmp_path / f"unbuildable-{tmp_path.name}.json").write_text(json.dumps(content))
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be built from its config"):
        clip.load(f"unbuildable-{tmp_path.name}", str(tmp_path / "w.safetensors"))


def test_openai_weights_in_a_model_of_plain_gelu_are_an_error_that_names_the_right_model() -> None:
    with pytest.raises(ModelError, match="expected 'ViT-B-16-quickgelu', found 'ViT-B-16'"):
        clip.load("ViT-B-16", "openai")


def test_a_file_that_looks_like_openais_is_warned_about_in_a_model_of_plain_gelu(tmp_path: Path) -> None:
    name, weights = save(tmp_path, "vit")
    Path(weights).rename(tmp_path / "vit_openai.safetensors")
    with pytest.warns(UserWarning, match="need QuickGELU"):
        clip.load(name, str(tmp_path / "vit_openai.safetensors"))


def test_a_tag_that_cannot_be_fetched_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise OSError("Temporary failure in\nname resolution")

    monkeypatch.setattr(factory, "download_pretrained", unreachable)
    with pytest.raises(ModelError, match="could not be fetched .*name resolution.*; check the network") as caught:
        clip.load("ViT-B-32-quickgelu", "openai")
    assert "\n" not in str(caught.value)


def test_a_tag_is_loaded_from_where_open_clip_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, weights = save(tmp_path, "vit-quickgelu")
    published = {"file": weights, "quick_gelu": True, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"mine": published})
    model = clip.load(name, "mine")
    assert tuple(model.mean) == (0.5, 0.5, 0.5)


def test_a_local_file_of_a_published_model_takes_the_published_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, weights = save(tmp_path, "vit")
    published = {"url": "", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"webli": published})
    assert tuple(clip.load(name, weights).std) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("vision", "size"),
    [
        ({"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}, 64),
        ({"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"}, 160),
    ],
)
def test_other_image_towers_give_labels_and_those_that_cannot_be_read_are_refused(
    vision: dict, size: int, tmp_path: Path
) -> None:
    name = f"other-{tmp_path.name}"
    (tmp_path / f"{name}.json").write_text(json.dumps({**CONFIGS["vit"], "vision_cfg": vision}))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    save_file(open_clip.create_model(name).state_dict(), tmp_path / "w.safetensors")
    model = clip.load(name, str(tmp_path / "w.safetensors"))
    features = model.image_features(model.pixels([noise((size, size))]))
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(len(features)))
    with pytest.raises(ModelError, match="tiles by attention need a vision transformer"):
        model.vit  # noqa: B018
    if "timm_model_name" in vision:
        with pytest.raises(ModelError, match="maps need a vision transformer or a ResNet of CLIP's; .* has neither"):
            model.tower()


@pytest.mark.parametrize(("captions", "known"), [("regions", True), ("images", False), ("", False)])
def test_weights_declare_what_their_captions_were_of(captions: str, known: bool, tmp_path: Path) -> None:
    assert clip.load(*save(tmp_path, "tiny", captions=captions)).knows_regions is known


def test_the_embedded_weights_declare_captions_of_regions() -> None:
    root = Path(__file__).parents[2]
    assert clip.load("wildseg-tiny", "models/tiny_clip/model.safetensors", root=root).knows_regions
