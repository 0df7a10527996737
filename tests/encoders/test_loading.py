"""Models by name, tag and local file, and the mistakes that are made with them."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.encoders.configs import clip_params
from tests.encoders.models import CONFIGS, noise, save
from tests.hub import Hub, nobody, point_to
from wildseg.core.errors import ModelError
from wildseg.encoders import clip, loading
from wildseg.encoders.weights import identity


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
    with pytest.raises(ModelError, match=r"plain torch tensors in evil\.pt, found a pickle file .* which can run code"):
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
    with pytest.raises(ModelError, match=r"1 missing, such as visual.proj; 1 unexpected, such as visual.extra"):
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


def test_a_tag_that_cannot_be_fetched_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(nobody(), tmp_path, monkeypatch)
    with pytest.raises(
        ModelError, match="could not be fetched from http://127.*connection refused; .*a local f"
    ) as caught:
        clip.load("ViT-B-32-quickgelu", "openai")
    assert "\n" not in str(caught.value)


def published(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, **config: object) -> str:
    """Publish a small random model on the hub; return its name, of which the tag is ``mine``."""
    name, weights = save(folder, "vit")
    colours = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.25, 0.5)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"mine": {**colours, **config}})
    hub.repositories["makers/clip"] = {"open_clip_model.safetensors": Path(weights).read_bytes()}
    return name


@pytest.mark.parametrize("address", ["makers/clip/", "makers/clip/open_clip_model.safetensors"])
def test_a_tag_on_the_hub_is_loaded_with_its_colours(
    hub: Hub, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = published(hub, tmp_path, monkeypatch, hf_hub=address)
    model = clip.load(name, "mine")
    assert (tuple(model.mean), tuple(model.std)) == ((0.5, 0.5, 0.5), (0.5, 0.25, 0.5))
    state = load_file(tmp_path / f"{name}.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in model.network.state_dict().items())
    assert model.notes == ()


def test_a_pickle_on_the_hub_is_called_one(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = published(hub, tmp_path, monkeypatch, hf_hub="makers/clip/")
    torch.save({"state_dict": Path("anything")}, tmp_path / "evil.bin")
    hub.repositories["makers/clip"] = {"open_clip_pytorch_model.bin": (tmp_path / "evil.bin").read_bytes()}
    with pytest.raises(
        ModelError, match="cannot be used: a pickle file that holds more than tensors, which can run code"
    ):
        clip.load(name, "mine")


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
    assert clip.load(*save(tmp_path, "tiny", captions=captions)).region_trained is known


def test_the_embedded_weights_declare_captions_of_regions() -> None:
    root = Path(__file__).parents[2]
    assert clip.load("wildseg-tiny", "models/tiny_clip/model.safetensors", root=root).region_trained


# What lies beside a file ---------------------------------------------------------------------------------------------

OPENAI = (0.48145466, 0.4578275, 0.40821073)


def shared(folder: Path, model: dict, **preparation: object) -> None:
    """Write the config that a folder of the hub has for its one model."""
    content = {"model_cfg": model, "preprocess_cfg": preparation}
    (folder / "open_clip_config.json").write_text(json.dumps(content))


def weights_alone(folder: Path, kind: str) -> str:
    """Save random weights without a config of their own."""
    name, weights = save(folder, kind)
    (folder / f"{name}.json").unlink()
    return weights


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("model", ["ViT-B-16", "ViT-B-16-quickgelu", "any name"])
def test_a_config_of_the_hub_beside_the_weights_wins(model: str, quick: bool, tmp_path: Path) -> None:
    weights = weights_alone(tmp_path, "vit")
    shared(tmp_path, {**CONFIGS["vit"], "quick_gelu": quick}, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
    loaded = clip.load(model, weights)
    assert (loaded.mean, loaded.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    kinds = {type(module).__name__ for module in loaded.network.modules()}
    assert ("QuickGELU" in kinds, "GELU" in kinds) == (quick, not quick)
    known = open_clip.get_model_config("ViT-B-16")
    assert known["embed_dim"] == 512  # open_clip's own is as it was


@pytest.mark.parametrize("mean", [[123.7, 116.3, 103.5], [0.5, -0.1, 0.5]])
def test_a_mean_outside_of_0_to_1_is_refused(mean: list[float], tmp_path: Path) -> None:
    weights = weights_alone(tmp_path, "vit")
    shared(tmp_path, CONFIGS["vit"], mean=mean, std=[58.4, 57.1, 57.4])
    with pytest.raises(ModelError, match=r"open_clip_config\.json: expected a mean within \[0, 1\], found .*by 255"):
        clip.load("any", weights)


def test_a_config_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    weights = weights_alone(tmp_path, "vit")
    shared(tmp_path, CONFIGS["vit"], mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
    config = tmp_path / "open_clip_config.json"
    config.write_text(config.read_text(), encoding="utf-8-sig")
    assert clip.load("any", weights).mean == (0.5, 0.4, 0.3)


def test_a_config_of_another_model_than_was_named_is_taken_and_told(tmp_path: Path) -> None:
    weights = weights_alone(tmp_path, "vit")
    shared(tmp_path, {**CONFIGS["vit"], "quick_gelu": True}, mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    (note,) = clip.load("ViT-B-16", weights).notes
    assert note.startswith("clip.model: open_clip_config.json beside test-vit-")
    assert "describes another model than ViT-B-16 (embed_dim 16 instead of 512, " in note
    assert clip.load("any", weights).notes == ()


def test_an_architecture_of_its_own_name_takes_the_colours_of_the_folder(tmp_path: Path) -> None:
    name, weights = save(tmp_path, "vit")
    shared(tmp_path, CONFIGS["patch32"], mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0])
    model = clip.load(name, weights)
    assert (model.mean, model.vit.native_grid) == ((0.0, 0.0, 0.0), (4, 4))


def test_a_config_of_the_hubs_form_may_have_the_models_name(tmp_path: Path) -> None:
    name, weights = save(tmp_path, "vit")
    content = {"model_cfg": CONFIGS["vit"], "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}
    (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert clip.load(name, weights).mean == (0.5, 0.5, 0.5)


def large(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """Save weights alone, of an architecture that open_clip has as `name`, made small."""
    config = {**CONFIGS["vit"], "quick_gelu": name.endswith("-quickgelu")}
    weights = weights_alone(folder, "vit")
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    return weights


def test_without_a_config_it_is_said_what_is_assumed_and_what_others_want(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = clip.load("ViT-L-14", large(tmp_path, monkeypatch, "ViT-L-14"))
    assert tuple(model.mean) == OPENAI
    (note,) = model.notes
    assert "mean 0.4815 0.4578 0.4082 is assumed (that of ViT-L-14's published 'openai')" in note
    assert "plain GELU (as open_clip's ViT-L-14 has it)" in note
    assert "laion2b_s32b_b82k have mean 0.5 0.5 0.5" in note
    assert "openai, metaclip_400m, metaclip_fullcc and 1 more have QuickGELU (clip.model: ViT-L-14-quickgelu)" in note
    assert note.endswith("put its open_clip_config.json beside it")


@pytest.mark.parametrize(
    ("name", "others", "silent"),
    [
        ("ViT-B-16-quickgelu", "have plain GELU (clip.model: ViT-B-16)", "have mean"),
        ("ViT-B-16-SigLIP", "mean 0.5 0.5 0.5 is assumed", "have QuickGELU"),
        ("ViT-H-14", "have QuickGELU (clip.model: ViT-H-14-quickgelu)", "have mean"),
    ],
)
def test_what_is_said_depends_on_the_weights_that_are_published(
    name: str, others: str, silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = large(tmp_path, monkeypatch, name)
    monkeypatch.setattr(loading, "_tokenizer", lambda _: None)  # that of SigLIP is on the hub
    (note,) = clip.load(name, weights).notes
    assert others in note
    assert silent not in note


def test_weights_of_this_packages_own_recipe_leave_nothing_to_assume(tmp_path: Path) -> None:
    assert clip.load(*save(tmp_path, "tiny", captions="regions")).notes == ()
    name, weights = save(tmp_path, "tiny")
    (note,) = clip.load(name, weights).notes
    assert "(open_clip's own), and plain GELU (as " in note


@pytest.mark.parametrize("mean", [0.5, [0.5, 0.5], ["0.5", 0.5, 0.5], [True, 0.5, 0.5], [float("nan"), 0, 0], None])
def test_colours_that_are_none_are_refused(mean: object, tmp_path: Path) -> None:
    weights = weights_alone(tmp_path, "vit")
    shared(tmp_path, CONFIGS["vit"], mean=mean, std=[0.5, 0.5, 0.5])
    with pytest.raises(ModelError, match="expected a mean of three numbers"):
        clip.load("ViT-B-16", weights)


def test_a_config_of_the_hub_may_not_bring_code_either(tmp_path: Path) -> None:
    weights = weights_alone(tmp_path, "vit")
    config = {
        **CONFIGS["vit"],
        "text_cfg": {**CONFIGS["vit"]["text_cfg"], "tokenizer_kwargs": {"trust_remote_code": True}},
    }
    shared(tmp_path, config)
    with pytest.raises(ModelError, match="expected of tokenizer_kwargs .*; found 'trust_remote_code'"):
        clip.load("ViT-B-16", weights)


@pytest.mark.parametrize("content", ["[]", "{", '{"model_cfg": []}', '{"model_cfg": {"embed_dim": 1}}'])
def test_a_broken_config_of_the_hub_is_told(content: str, tmp_path: Path) -> None:
    weights = weights_alone(tmp_path, "vit")
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"open_clip_config\.json: expected an open_clip config"):
        clip.load("ViT-B-16", weights)


def test_the_config_beside_is_part_of_what_tells_models_apart(tmp_path: Path) -> None:
    weights = weights_alone(tmp_path, "vit")
    found = []
    for mean in (0.5, 0.4):
        found.append(identity(clip_params("ViT-B-16", weights), tmp_path))
        shared(tmp_path, CONFIGS["vit"], mean=[mean] * 3)
    found.append(identity(clip_params("ViT-B-16", weights), tmp_path))
    assert len({json.dumps(each) for each in found}) == 3
