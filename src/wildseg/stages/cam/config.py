"""What the parameters of the section cam name: method, refinements, second encoder, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.core import lookup
from wildseg.core.files import sha256_of
from wildseg.execution.result_store import versions

if TYPE_CHECKING:  # workers import torch, all at the same time; the process of the stage has no use for it
    from wildseg.cam.engine import CamConfig
    from wildseg.cam.params import Cam
    from wildseg.encoders.clip import Clip

SECOND = "encoder"  # in NEEDS of a method that reads a second encoder
LIBRARIES = ("timm", "segmentation-models-pytorch")


def cam_config(cam: Cam, clip: Clip | None = None, root: Path | None = None) -> CamConfig:
    """Load the method and the refinements that the parameters name, and the method's second encoder if it has one.

    Args:
        cam: the section of params.yaml.
        clip: the model beside which the second encoder stands; None for a configuration without one.
        root: the folder that relative paths start from.

    Raises:
        ModelError: the second encoder or its weights cannot be had.
    """
    from wildseg.cam import second_encoder
    from wildseg.cam.engine import CamConfig
    from wildseg.cam.refinement import Refinement

    refinements = []
    for name in cam.refinements:
        module = lookup.load("methods.refine", name, "cam.refine")
        section = getattr(cam, name, None)  # the options of some are a section of their name
        options = cam.options.get(name, {})
        refinements.append(Refinement(module, section if is_dataclass(section) else None, options))
    method = lookup.load("methods.cam", cam.method, "cam.method")
    encoder = None
    if clip is not None and SECOND in method.NEEDS:
        encoder = second_encoder.load(clip, root or Path(), f"cam.options.{cam.method}", **cam.method_options)
    return CamConfig(cam, method, tuple(refinements), encoder)


def second_identity(cam: Cam, root: Path) -> dict[str, Any]:
    """Return what beside the parameters identifies the second encoder of the method, for a key; {} without one."""
    if SECOND not in lookup.needs("methods.cam", cam.method):
        return {}
    return {"files": option_files(cam.method_options, root), "libraries": versions(*LIBRARIES)}


def option_files(options: Mapping[str, Any], root: Path) -> dict[str, list[str]]:
    """Return the content of each file or folder that an option names, such as weights or saliency, as digests."""
    found: dict[str, list[str]] = {}
    for name, value in options.items():
        path = root / value if isinstance(value, str) and value else None
        if path is not None and path.is_file():
            found[name] = [sha256_of(path)]
        elif path is not None and path.is_dir():
            found[name] = [f"{file.name} {sha256_of(file)}" for file in sorted(path.iterdir()) if file.is_file()]
    return found
