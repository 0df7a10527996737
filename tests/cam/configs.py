"""Configurations of activation maps: the shipped parameters at one scale and full size, but for what a test changes."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from wildseg.cam.engine import CamConfig
from wildseg.cam.params import Caa, Cam
from wildseg.cam.refinement import Refinement
from wildseg.execution import defaults
from wildseg.methods.refine import caa


def cam_config(
    method: ModuleType,
    options: Mapping[str, Any] | None = None,
    refine: Refinement | None = None,
    **changes: object,
) -> CamConfig:
    """Maps by a module of `methods/cam` and its options; `changes` are parameters of the section cam."""
    name = method.__name__.rpartition(".")[2]
    plain = {"scales": (1.0,), "max_side": None, "method": name, "options": {name: dict(options or {})}}
    refinements = () if refine is None else (refine,)
    encoder = colours if "encoder" in method.NEEDS else None
    return CamConfig(defaults.section(Cam, "cam", **{**plain, **changes}), method, refinements, encoder)


def colours(pixels: Tensor) -> Tensor:
    """A second encoder that knows nothing but mean colours: (1, 3, H, W) to (1, 3, h, w), cells of 8 pixels."""
    return F.avg_pool2d(pixels, 8, ceil_mode=True)


def caa_params(**changes: object) -> Caa:
    """Return the section cam.caa."""
    return defaults.section(Cam, "cam", caa=changes).caa


def by_caa(**changes: object) -> Refinement:
    """Return the refinement caa; `changes` are parameters of the section cam.caa."""
    return Refinement(caa, caa_params(**changes))
