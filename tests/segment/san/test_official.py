"""Checkpoints under the authors' names: every tensor finds its place, CLIP must be the same, mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.encoders.models import save
from tests.segment.san.networks import OPTIONS, PHRASES, small
from wildseg.core.errors import DataError, ModelError
from wildseg.methods.architectures import san
from wildseg.segment.san.network import San

VIT = "side_adapter_network.vit_model."
DECODER = "side_adapter_network.mask_decoder."


def official(network: San) -> dict[str, Tensor]:
    """Return the weights of a network as the authors' code names and shapes them; it has 3 blocks, 2 of them shared."""
    own = {name: value.clone() for name, value in network.state_dict().items()}
    state = {
        "side_adapter_network.query_embed": own["encoder.queries"][None],
        "side_adapter_network.query_pos_embed": own["encoder.query_positions"][None],
        f"{VIT}pos_embed": own["encoder.positions"][None],
        "ov_classifier.bg_embed": own["learned"][1:],
        "ov_classifier.logit_scale": torch.tensor(1.0),
        "criterion.empty_weight": torch.ones(4),
    }
    for end in ("weight", "bias"):
        state[f"{VIT}patch_embed.proj.{end}"] = own[f"encoder.patches.{end}"]
        state[f"{DECODER}bias_scaling.{end}"] = own[f"decoder.scale.{end}"]
        for layer in range(3):
            for theirs, ours in (("query_mlp", "query"), ("pix_mlp", "pixel"), ("attn_mlp", "bias")):
                state[f"{DECODER}{theirs}.layers.{layer}.{end}"] = own[f"decoder.{ours}.layers.{layer}.{end}"]
            for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
                state[f"{VIT}blocks.{layer}.{part}.{end}"] = own[f"encoder.blocks.{layer}.{part}.{end}"]
            fusion = f"side_adapter_network.fusion_layers.layer_{layer}.input_proj."
            state[f"{fusion}0.{end}"] = own[f"encoder.fusions.{layer}.norm.{end}"]
            state[f"{fusion}1.{end}"] = own[f"encoder.fusions.{layer}.project.{end}"]
    for name, value in network.clip.visual.state_dict().items():
        name = name.removeprefix("transformer.")
        if name.startswith("resblocks.2."):
            state[name.replace("resblocks.2.", "clip_rec_head.resblocks.0.")] = value.clone()
        elif name.startswith(("ln_post", "proj")):
            state[f"clip_rec_head.{name}"] = value.clone()
        else:
            state[f"clip_visual_extractor.{name}"] = value.clone()
    state["clip_visual_extractor.positional_embedding"] = own["clip_positions"]
    return state


@pytest.mark.parametrize("form", ["safetensors", "pth", "pth under model"])
def test_a_checkpoint_gives_the_network_it_was_made_of(form: str, tmp_path: Path) -> None:
    trained = small(tmp_path).eval()
    for value in trained.parameters():
        value.data += 0.05 * torch.randn_like(value)
    state, path = official(trained), tmp_path / f"san.{form.split()[0]}"
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state} if "model" in form else state, path)
    name, file = save(tmp_path, "tiny")
    torch.manual_seed(7)
    loaded = san.build(3, name, file, PHRASES, range(4), checkpoint=str(path), **OPTIONS).eval()
    with torch.no_grad():
        trained.learned[0] = loaded.learned[0]  # of the background, which no checkpoint has
        images = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(loaded(images), trained(images))
    assert "weights of SAN" in loaded.loaded_weights
    again = san.build(3, name, file, checkpoint="moved away", **OPTIONS)  # as a trained model is built
    assert isinstance(again, San)


def load(folder: Path, state: dict[str, Tensor], **changes: int) -> None:
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "san.safetensors")
    name, file = save(folder, "tiny")
    san.build(3, name, file, PHRASES, range(4), checkpoint=str(folder / "san.safetensors"), **{**OPTIONS, **changes})


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    state = official(small(tmp_path))
    where = r"^train.options.san.checkpoint: .*san.safetensors: "
    with pytest.raises(ModelError, match=where + "1 tensors missing .* encoder.queries$"):
        load(tmp_path, {name: value for name, value in state.items() if not name.endswith("query_embed")})
    with pytest.raises(ModelError, match=where + "encoder.queries is .*; set train.encoder and train.options.san"):
        load(tmp_path, state, queries=9)
    other = {**state, "clip_rec_head.resblocks.0.ln_1.weight": torch.zeros(32)}
    with pytest.raises(ModelError, match=where + "expected the weights of the frozen .* found another CLIP"):
        load(tmp_path, other)
    (tmp_path / "a.pth").write_bytes(b"nothing")
    name, file = save(tmp_path, "tiny")
    with pytest.raises(DataError, match=r"^train.options.san.checkpoint: .*a.pth: expected weights as safetensors or"):
        san.build(3, name, file, PHRASES, range(4), checkpoint=str(tmp_path / "a.pth"), **OPTIONS)
