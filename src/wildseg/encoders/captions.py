"""Whether a model was trained on captions of regions: weights declare it in their safetensors metadata.

CLIP and its like are trained on captions of whole images, and published weights declare nothing. A model trained on
captions of regions can classify a part of an image without cropping it.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

REGIONS = {"captions": "regions"}


def declares_region_captions(file: Path) -> bool:
    """Return whether a file of weights declares that its model was trained on captions of regions."""
    if file.suffix != ".safetensors" or not file.is_file():
        return False
    try:
        with safe_open(file, "pt") as weights:
            return REGIONS.items() <= (weights.metadata() or {}).items()
    except (OSError, SafetensorError):
        return False  # loading the weights reports the error
