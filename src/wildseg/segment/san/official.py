"""Checkpoints of SAN under the authors' names: ``side_adapter_network``, ``clip_visual_extractor`` and others.

They hold CLIP as well, in parts; it is compared with the frozen one and not loaded. The embedding of the background is
not among them, as their data sets have no such class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from wildseg.core.errors import ModelError
from wildseg.segment.san.network import San
from wildseg.segment.san.recognition import shared_blocks

SIDE, EXTRACTOR, HEAD = "side_adapter_network.", "clip_visual_extractor.", "clip_rec_head."
NO_OBJECT = "ov_classifier.bg_embed"
# Names behind `SIDE`, the authors' and this package's.
RULES = (
    (r"query_embed$", "encoder.queries"),
    (r"query_pos_embed$", "encoder.query_positions"),
    (r"vit_model\.pos_embed$", "encoder.positions"),
    (r"vit_model\.patch_embed\.proj\.", "encoder.patches."),
    (r"vit_model\.blocks\.", "encoder.blocks."),
    (r"fusion_layers\.layer_(\d+)\.input_proj\.0\.", r"encoder.fusions.\1.norm."),
    (r"fusion_layers\.layer_(\d+)\.input_proj\.1\.", r"encoder.fusions.\1.project."),
    (r"mask_decoder\.query_mlp\.", "decoder.query."),
    (r"mask_decoder\.pix_mlp\.", "decoder.pixel."),
    (r"mask_decoder\.attn_mlp\.", "decoder.bias."),
    (r"mask_decoder\.bias_scaling\.", "decoder.scale."),
)
TOLERANCE = 1e-3  # CLIP in half precision is the same CLIP


def load_checkpoint(network: San, state: Mapping[str, Tensor], where: str) -> str:
    """Load what the authors trained into a network, and return a description.

    Args:
        network: with the sizes of the checkpoint, beside the same CLIP.
        state: the checkpoint, of `wildseg.encoders.cnn.weight_file.read_weights`.
        where: the parameter and the file, for error lines.

    Raises:
        ModelError: tensors are missing or of another shape, or CLIP is another one.
    """
    own = network.state_dict()
    loaded: dict[str, Tensor | None] = {renamed: value for name, value in state.items() if (renamed := _renamed(name))}
    loaded["clip_positions"] = state.get(f"{EXTRACTOR}positional_embedding")
    nothing = state.get(NO_OBJECT)
    loaded["learned"] = None if nothing is None else torch.cat([own["learned"][:1], nothing.reshape(1, -1).float()])
    kept = {"texts", "meant", "clip_digest"}
    missing = [name for name in own if name not in kept and loaded.get(name) is None]
    if wrong := [*missing, *(name for name in loaded if name not in own)]:
        raise ModelError(f"{where}: {len(wrong)} tensors missing or of another architecture, such as {wrong[0]}")
    shaped = {name: value.reshape(own[name].shape) if value.numel() == own[name].numel() else value
              for name, value in loaded.items() if value is not None}  # fmt: skip
    for name, value in shaped.items():
        if value.shape != own[name].shape:
            raise ModelError(
                f"{where}: {name} is {tuple(value.shape)} instead of {tuple(own[name].shape)}; set train.encoder and "
                "train.options.san.queries, width, depth and heads to those of the checkpoint"
            )
    _check_clip(network, state, where)
    network.load_state_dict({**{name: own[name] for name in kept}, **shaped})
    return f"weights of SAN: {len(shaped)} tensors; {len(state) - len(shaped)} of the frozen CLIP or of training"


def _check_clip(network: San, state: Mapping[str, Tensor], where: str) -> None:
    shared = shared_blocks(network.clip.depth)
    found = {name.removeprefix(EXTRACTOR): value for name, value in state.items() if name.startswith(EXTRACTOR)}
    found |= {
        re.sub(
            r"^resblocks\.(\d+)", lambda match: f"resblocks.{shared + int(match[1])}", name.removeprefix(HEAD)
        ): value
        for name, value in state.items()
        if name.startswith(HEAD)
    }
    for name, value in network.clip.visual.state_dict().items():
        other = found.get(name.removeprefix("transformer."))
        if name == "positional_embedding" or other is None:
            continue
        if other.shape != value.shape or not torch.allclose(other.float(), value.float().cpu(), atol=TOLERANCE):
            raise ModelError(
                f"{where}: expected the weights of the frozen {network.clip.name}, found another CLIP ({name} differs)"
                "; set train.encoder and train.encoder_weights to those of the checkpoint"
            )


def _renamed(name: str) -> str:
    if not name.startswith(SIDE):
        return ""
    rest = name.removeprefix(SIDE)
    for pattern, replacement in RULES:
        if re.match(pattern, rest):
            return re.sub(f"^{pattern}", replacement, rest)
    return rest
