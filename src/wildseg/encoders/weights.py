"""The identity of a model without loading it: its name and tag, and the digests of local files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.core.files import sha256_of

if TYPE_CHECKING:
    from wildseg.encoders.params import Clip


def config_path(weights: Path, model: str) -> Path:
    """Return the path of the config beside the weights of a model."""
    return weights.parent / f"{Path(model).name}.json"


def shared_config_path(weights: Path) -> Path:
    """Return the path of the open_clip config of a model hub's folder."""
    return weights.parent / "open_clip_config.json"


def identity(clip: Clip, root: Path) -> dict[str, Any]:
    """Return the identity of a model for a cache key; a tag of open_clip identifies itself.

    Args:
        clip: the parameters. Of weights in a file below `root` the bytes count, and those of its config.
        root: the project folder.
    """
    known = {name: value for name, value in vars(clip).items() if name not in ("templates", "sharpest")}
    weights = root / clip.pretrained
    for file in (weights, config_path(weights, clip.model)):
        if weights.is_file() and file.is_file():
            known[file.suffix] = sha256_of(file)
    if weights.is_file() and (shared := shared_config_path(weights)).is_file():
        known[shared.name] = sha256_of(shared)
    if weights.is_file():
        known["pretrained"] = ""  # the same bytes under another name are the same model
    return known
