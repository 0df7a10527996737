"""Packages of weights as a registry has them, with random weights: nothing needs the published ones."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from wildseg.encoders.cnn import packaged

LITE0 = "efficientnet-lite0"
REPEATS = [1, 2, 2, 3, 3, 4, 1]


def lite0_state() -> dict[str, torch.Tensor]:
    """Random weights of timm's network; none of them is what a network begins with, and variances are positive."""
    torch.manual_seed(7)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    return {
        key: value + 0.1 * torch.rand_like(value) if value.is_floating_point() else value
        for key, value in state.items()
    }


def foreign(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights by the names of EfficientNet-PyTorch, block by block."""
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    parts = [(old, new) for new, old in outer.items()]
    number = 0
    for stage, repeats in enumerate(REPEATS):
        theirs = "_depthwise_conv _bn1 _project_conv _bn2" if stage == 0 else (
            "_expand_conv _bn0 _depthwise_conv _bn1 _project_conv _bn2"
        )  # fmt: skip
        ours = "conv_dw bn1 conv_pw bn2" if stage == 0 else "conv_pw bn1 conv_dw bn2 conv_pwl bn3"
        for repeat in range(repeats):
            for old, new in zip(theirs.split(), ours.split(), strict=True):
                parts.append((f"_blocks.{number}.{old}", f"blocks.{stage}.{repeat}.{new}"))
            number += 1
    found = {}
    for old, new in parts:
        for tensor in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            if f"{new}.{tensor}" in state:
                found[f"{old}.{tensor}"] = state[f"{new}.{tensor}"]
    return found


def install_lite0(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None = None) -> Path:
    """Put the package, with random weights whose digest is the expected one, where Python finds it; return its file."""
    entry = packaged.PACKAGED[LITE0]
    file = folder / entry.module / entry.file
    file.parent.mkdir(parents=True)
    (folder / entry.module / "__init__.py").write_text("raise RuntimeError('a package of weights is never run')\n")
    torch.save(foreign(lite0_state()), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(packaged, "PACKAGED", {LITE0: replace(entry, sha256=digest)})
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    return file
