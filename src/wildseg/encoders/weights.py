"""What tells one model from another without loading it: its name and tag, and the bytes of local files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def identity(model: str, pretrained: str, root: Path) -> dict[str, str]:
    """Return what a result of this model depends on; a tag of open_clip stands for itself.

    Args:
        model: as in `wildseg.encoders.clip.load`.
        pretrained: a tag, or a file of weights below `root`, of which the bytes count, and those of its config.
        root: the project folder.
    """
    known = {"model": model, "pretrained": pretrained}
    weights = root / pretrained
    for file in (weights, weights.with_name(f"{model}.json")):
        if weights.is_file() and file.is_file():
            with file.open("rb") as stream:
                known[file.suffix] = hashlib.file_digest(stream, "sha256").hexdigest()
    if weights.is_file():
        known["pretrained"] = ""  # the same bytes under another name are the same model
    return known
