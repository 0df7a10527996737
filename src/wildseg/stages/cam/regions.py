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
    from wildseg.cam.memory import Bank
    from wildseg.cam.params import Cam
    from wildseg.cam.region_features import RegionReader
    from wildseg.encoders.clip import Clip
    from wildseg.encoders.params import Clip as ClipParams

NAME = "memory"  # of the refinement
MIN_AREA = 0.01  # share of the frame that a region of the bank has at least
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
    check_not_empty(files, files.load_bank())


def check_not_empty(files: MemoryFiles, bank: Bank) -> None:
    """Raise a DataError where a bank has no regions, as those of a frame in too many parts are all too small."""
    if not len(bank):
        raise DataError(
            f"{files.bank_npz}: expected regions of {len(bank.frames)} frames, found none of at least "
            f"{100 * MIN_AREA:g}% of a frame; lower cam.options.{NAME}.clusters, then 'wildseg memory --rebuild'"
        )


def check_made_by(files: MemoryFiles, wanted: dict[str, Any]) -> None:
    """Raise a DataError where a bank was made by another model or other parameters than those `wanted`."""
    found = files.load_about_bank().made_by
    for name in (*wanted, *found):
        if (own := wanted.get(name)) != (other := found.get(name)):
            raise DataError(f"{files.bank_npz}: expected a bank made {_difference(name, own, other)}")


def _difference(name: str, own: Any, other: Any) -> str:  # noqa: ANN401
    """Return the rest of a line about a bank: by what it should have been made, by what it was, and what to do."""
    if name == "model":
        return f"by the model of the section clip, found one of another; {AGAIN}, or put the old model back"
    if name == "libraries":  # of a second encoder, as are files
        old, new = other or {}, own or {}
        changed = [f"{one} {old.get(one) or 'none'} -> {new.get(one) or 'none'}"
                   for one in sorted({*old, *new}) if old.get(one) != new.get(one)]  # fmt: skip
        return f"with the installed libraries, found one of other versions ({', '.join(changed)}); {AGAIN}"
    if name == "files":
        return f"with the files of cam.options.{NAME}.encoder as they are, found one of others; {AGAIN}"
    key = f"cam.{name}" if name in OF_MAPS else f"cam.options.{NAME}.{name}"
    return f"with {key} {own!r}, found one with {other!r}; {AGAIN}, or put the old value back"


def _options(cam: Cam) -> dict[str, Any]:
    """Return all options of the refinement, those that params.yaml lacks by their defaults."""
    return lookup.option_defaults("methods.refine", NAME, ("refine",)) | cam.options.get(NAME, {})


def _of_encoder(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("encoder", "encoder_weights")}
