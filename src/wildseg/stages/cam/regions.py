"""Regions of frames as the options of `cam.refine: memory` have them found, for the bank and for the maps alike."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.memory import AGAIN, MemoryFiles
from wildseg.core import lookup
from wildseg.core.errors import DataError
from wildseg.encoders.weights import identity
from wildseg.execution.result_store import versions
from wildseg.stages.cam.config import LIBRARIES, option_files

if TYPE_CHECKING:  # workers import torch, all at the same time; the process of the stage has no use for it
    from wildseg.cam.params import Cam
    from wildseg.cam.region_features import RegionReader
    from wildseg.encoders.clip import Clip
    from wildseg.encoders.params import Clip as ClipParams

NAME = "memory"  # of the refinement
DECISIVE = ("clusters", "region_scale", "encoder", "encoder_weights")  # options that regions depend on
OF_MAPS = ("max_side", "pos_embed_interpolation")  # parameters of the section cam that they depend on


def needs_regions(cam: Cam) -> bool:
    """Return whether a chosen refinement reads the regions of frames."""
    return any("regions" in lookup.needs("methods.refine", name) for name in cam.refinements)


def made_by(cam: Cam, clip: ClipParams, root: Path) -> dict[str, Any]:
    """Return all that the regions of a frame depend on but the frame, the code and CLIP's libraries, as JSON has it."""
    options = _options(cam)
    found = {name: options[name] for name in DECISIVE} | {name: getattr(cam, name) for name in OF_MAPS}
    if found["encoder"] is None:
        found["encoder_weights"] = None
    else:
        found |= {"files": option_files(_of_encoder(options), root), "libraries": versions(*LIBRARIES)}
    known: dict[str, Any] = json.loads(json.dumps(found | {"model": identity(clip, root)}))
    return known


def load_reader(cam: Cam, clip: Clip, root: Path) -> RegionReader:
    """Return what finds the regions of a frame.

    Raises:
        DataError: a file of the second encoder is broken.
        ModelError: the second encoder cannot be had.
    """
    from wildseg.cam import second_encoder
    from wildseg.cam.region_features import RegionReader

    options, encoder = _options(cam), None
    if options["encoder"] is not None:
        encoder = second_encoder.load(clip, root, f"cam.options.{NAME}", **_of_encoder(options))
    return RegionReader.of(clip, cam, options["clusters"], options["region_scale"], encoder)


def check_bank(cam: Cam, clip: ClipParams, root: Path) -> None:
    """Raise a DataError unless there is a bank with regions, made as those of the frames are.

    Args:
        cam: the section of params.yaml, whose refinements read the bank.
        clip: the image-text model.
        root: the project folder.
    """
    files = MemoryFiles(root)
    if not os.path.lexists(files.bank_npz):
        raise DataError(
            f"{files.bank_npz}: expected a bank of regions for cam.refine: {NAME}, found none; 'wildseg memory' builds "
            "it from the training frames"
        )
    check_made_by(files, made_by(cam, clip, root))
    if not len(files.load_bank()):
        raise DataError(
            f"{files.bank_npz}: expected regions, found none; 'wildseg memory --grow' adds those of new frames"
        )


def check_made_by(files: MemoryFiles, wanted: dict[str, Any]) -> None:
    """Raise a DataError where a bank was made by another model or other parameters than those `wanted`."""
    found = files.load_about_bank().made_by
    for name in (*wanted, *found):
        own, other = wanted.get(name), found.get(name)
        if own != other and name == "model":
            raise DataError(f"{files.bank_npz}: expected a bank made by the model of the section clip, found one of "
                            f"another; {AGAIN}, or put the old model back")  # fmt: skip
        if own != other:
            key = f"cam.{name}" if name in OF_MAPS else f"cam.options.{NAME}.{name}"
            raise DataError(f"{files.bank_npz}: expected a bank made with {key} {own!r}, found one with {other!r}; "
                            f"{AGAIN}, or put the old value back")  # fmt: skip


def _options(cam: Cam) -> dict[str, Any]:
    """Return all options of the refinement, those that params.yaml lacks by their defaults."""
    return lookup.option_defaults("methods.refine", NAME, ("refine",)) | cam.options.get(NAME, {})


def _of_encoder(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("encoder", "encoder_weights")}
