"""What tells one model from another without loading it: its name and tag, and the bytes of local files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def config_path(weights: Path, model: str) -> Path:
    """Return where the config of a model lies whose weights are a file; of another folder's it never is."""
    return weights.parent / f"{Path(model).name}.json"


def shared_config_path(weights: Path) -> Path:
    """Return where the config lies that a folder of the model hub has for its one model of open_clip."""
    return weights.parent / "open_clip_config.json"


def identity(model: str, pretrained: str, root: Path) -> dict[str, str]:
    """Return what a result of this model depends on; a tag of open_clip stands for itself.

    Args:
        model: as in `wildseg.encoders.clip.load`.
        pretrained: a tag, or a file of weights below `root`, of which the bytes count, and those of its config.
        root: the project folder.
    """
    known = {"model": model, "pretrained": pretrained}
    weights = root / pretrained
    for file in (weights, config_path(weights, model)):
        if weights.is_file() and file.is_file():
            with file.open("rb") as stream:
                known[file.suffix] = hashlib.file_digest(stream, "sha256").hexdigest()
    if weights.is_file() and (shared := shared_config_path(weights)).is_file():
        known[shared.name] = hashlib.sha256(shared.read_bytes()).hexdigest()
    if weights.is_file():
        known["pretrained"] = ""  # the same bytes under another name are the same model
    return known
