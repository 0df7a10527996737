"""Matches the tensors of a file with an encoder, whatever network was saved and under whatever prefix.

A file may hold the encoder alone or a whole network around it; timm names a stage ``stages.0`` in a classifier and
``stages_0`` in an encoder. Every tensor that the encoder runs must be present, in its shape. The remaining ones must be
a head, or a stage beyond the encoder's depth: any other tensor means another architecture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

import torch

from wildseg.core.errors import ModelError

# Prefixes of an encoder's tensors: its attribute in the saved network.
AROUND = ("module", "model", "encoder", "backbone", "network", "net", "trunk", "_orig_mod", "state_dict", "base_model")
# Modules after a backbone, in the networks of timm, torchvision and others.
HEADS = (
    "fc", "_fc", "classifier", "head", "heads", "head_dist", "last_linear", "conv_head", "_conv_head", "_bn1",
    "pre_logits", "fc_norm", "aux", "aux_head", "aux_classifier", "AuxLogits", "global_pool", "decoder",
    "segmentation_head", "classification_head",
    # What masked pre-training has beside the encoder.
    "mask_token", "decoder_embed", "decoder_pos_embed", "decoder_blocks", "decoder_norm", "decoder_pred",
)  # fmt: skip
# Buffers recomputed by every network, and saved by some versions of libraries only.
BOOKKEEPING = ("num_batches_tracked", "relative_position_index", "attn_mask", "relative_coords_table", "total_ops",
               "total_params")  # fmt: skip
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class WeightMatch:
    """The weights under the encoder's names, and the skipped parts of the file: heads and stages."""

    state: dict[str, torch.Tensor]
    left_out: tuple[str, ...]


def match_weights(
    encoder: torch.nn.Module, found: Mapping[str, torch.Tensor], whole: Iterable[str], where: str
) -> WeightMatch:
    """Find the encoder's weights in a file.

    Args:
        encoder: as built.
        found: the file's tensors by name.
        whole: names of all tensors of the network around the encoder.
        where: the file and the encoder, for the error line.

    Raises:
        ModelError: a tensor is missing, of another shape, or of another architecture.
    """
    own = encoder.state_dict()
    inside = _prefix(own, [_plain(own)])
    wanted = {_key(name.removeprefix(inside)): name for name in own}
    prefix = _prefix(found, [wanted])
    given = {_key(name.removeprefix(prefix)): name for name in found if name.startswith(prefix)}
    computed = {name for name, _ in encoder.named_buffers() if not name.endswith(STATISTICS)}
    state = {name: found[given[key]] for key, name in wanted.items() if key in given}
    wrong = _differences(own, state, [name for name in own if name not in state and name not in computed], inside)
    known = {_key(name) for name in whole}
    extra = sorted(name.removeprefix(prefix) for key, name in given.items() if key not in wanted)
    unknown = [name for name in extra if not (_key(name) in known or _is_head(name) or name.endswith(BOOKKEEPING))]
    if unknown:
        wrong.append(f"{len(unknown)} of another architecture, such as {unknown[0]}")
    if wrong:
        raise ModelError(f"{where}: {'; '.join(wrong)}")
    beside = [name for name in found if not name.startswith(prefix)]
    parts = _parts([name for name in extra if not name.endswith(BOOKKEEPING)], {_key(name) for name in wanted})
    return WeightMatch(state, tuple(dict.fromkeys([*parts, *sorted(name.split(".")[0] for name in beside)])))


def _differences(
    own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], missing: list[str], inside: str
) -> list[str]:
    other = [
        f"{name.removeprefix(inside)} is {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in state.items()
        if value.shape != own[name].shape
    ]
    wrong = (
        [f"{len(missing)} of {len(own)} tensors missing, such as {missing[0].removeprefix(inside)}"] if missing else []
    )
    wrong += [f"{len(other)} of another shape, such as {other[0]}"] if other else []
    whole = [name for name, value in state.items() if own[name].is_floating_point() > value.is_floating_point()]
    if whole:  # quantised: without their scales the numbers are meaningless
        kind = str(state[whole[0]].dtype).removeprefix("torch.")
        wrong.append(
            f"{len(whole)} of whole numbers, such as {whole[0].removeprefix(inside)} of {kind}; expected floats"
        )
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value.float()).all())]
    if broken:
        wrong.append(f"{len(broken)} hold NaN or infinity, such as {broken[0].removeprefix(inside)}")
    return wrong


def _key(name: str) -> str:
    return name.replace(".", "_")


def _plain(names: Iterable[str]) -> set[str]:
    """Return names without their common prefixes of `AROUND`."""
    plain = list(names)
    while plain and (word := plain[0].split(".")[0]) in AROUND and all(name.startswith(f"{word}.") for name in plain):
        plain = [name[len(word) + 1 :] for name in plain]
    return {_key(name) for name in plain}


def _prefix(names: Iterable[str], wanted: list[Iterable[str]]) -> str:
    """Return the prefix under which most of the wanted names are found."""
    (keys,) = wanted
    candidates: dict[str, int] = {}
    names = list(names)
    common = _common(names)
    for name in names:
        words = name.split(".")
        depth = 0
        for depth in range(len(words)):
            prefix = "".join(f"{word}." for word in words[:depth])
            candidates[prefix] = candidates.get(prefix, 0) + (_key(name.removeprefix(prefix)) in keys)
            if words[depth] not in AROUND and words[depth] not in common[depth : depth + 1]:
                break
    return max(candidates, key=lambda prefix: (candidates[prefix], -len(prefix)), default="")


def _common(names: list[str]) -> list[str]:
    """Return the parts of the longest common prefix."""
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return [words[0] for words in takewhile(lambda words: len(set(words)) == 1, columns)]


def _is_head(name: str) -> bool:
    return name.split(".")[0] in HEADS


def _parts(names: Iterable[str], wanted: set[str]) -> list[str]:
    """Return the modules of tensors: children, or grandchildren where the encoder has others of the same child."""
    parts = []
    for name in names:
        words = name.split(".")
        shared = any(key.startswith(f"{words[0]}_") for key in wanted)
        parts.append(".".join(words[:2]) if shared and len(words) > 2 else words[0])
    return list(dict.fromkeys(parts))
